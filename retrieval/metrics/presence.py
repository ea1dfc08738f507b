"""The pairwise presence matrix of two sounds with several labels each, and the level of similarity it yields.

Fan, Nichols, Tompkins, Mendez, Elizalde and Pasquier, Multi-label sound event retrieval using a deep learning-based
Siamese structure with a pairwise presence matrix (ICASSP 2020), section 3.1: for each category one of three situations
holds, both sounds contain it, neither does, or one of them does.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

# In the order of the matrix's columns.
SITUATIONS = ("both", "neither", "one")


def presence_matrix(
    label: Float[Tensor, "*pair category"], other_label: Float[Tensor, "*pair category"]
) -> Float[Tensor, "*pair category situation"]:
    """Say for each category which situation a pair is in, as fig. 2 does.

    Args:
        label: 1 where the first sound contains the category, else 0; or the probability that it does.
        other_label: The same of the second sound.

    Returns:
        One-hot rows; of probabilities, those of the situations if the sounds are independent. Rows sum to 1, and
        swapping the sounds changes nothing.

    Raises:
        ValueError: If a label lies outside [0, 1].
    """
    for each in (label, other_label):
        if bool(((each < 0) | (each > 1) | each.isnan()).any()):
            raise ValueError(f"Expected labels from 0 to 1; got {each.min():g} to {each.max():g}. Give probabilities.")
    both = label * other_label
    neither = (1 - label) * (1 - other_label)
    return torch.stack([both, neither, 1 - both - neither], dim=-1)


def similarity_level(matrix: Float[Tensor, "*pair category situation"]) -> Float[Tensor, "*pair"]:
    """Sum the first two columns: the number of categories that both sounds contain or both lack.

    Returns:
        Levels in [0, category], larger is more alike; of probabilities, the level to be expected.
    """
    return matrix[..., :2].sum(dim=(-2, -1))


def label_levels(
    query_labels: Int[Tensor, "query category"], item_labels: Int[Tensor, "item category"]
) -> Int[Tensor, "query item"]:
    """Count the categories in which the labels, 0 or 1, of queries and items agree: r of eq. (2).

    It is `similarity_level` of the presence matrix of every pair, without making the matrices.
    """
    num_categories = query_labels.shape[1]
    # in floating point, where products of matrices are fast; counts of categories are exact in it
    query, item = query_labels.float(), item_labels.float()
    differing = query.sum(dim=1)[:, None] + item.sum(dim=1) - 2 * query @ item.T
    return num_categories - differing.round().long()
