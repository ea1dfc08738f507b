"""Balanced soft assignment by the Sinkhorn-Knopp algorithm (Cuturi, Sinkhorn distances, 2013)."""

from jaxtyping import Float
from torch import Tensor

# exp(-2 / 0.025) is near the smallest float32 of full precision
MIN_ENTROPY_WEIGHT = 0.025


def balanced_assignment(
    cosines: Float[Tensor, "item bucket"], entropy_weight: float = 0.05, num_iterations: int = 3
) -> Float[Tensor, "item bucket"]:
    """Share items out over buckets so that each bucket takes equally much, favouring large cosines.

    The plan Q that makes <Q, cosines> + entropy_weight H(Q) largest, with rows and columns of equal sums, is
    diag(u) exp(cosines / entropy_weight) diag(v). Columns and rows are scaled in turn, rows last, so that rows are
    exact and columns as even as the iterations allow, as in SwAV (Caron et al., 2020, section 3.1).

    Args:
        cosines: Similarities in [-1, 1].
        entropy_weight: The smaller, the harder the assignment and the more iterations it needs.
        num_iterations: Scalings of columns and rows.

    Returns:
        Each item's shares, which sum to 1; a bucket's approach the number of items over that of buckets.

    Raises:
        ValueError: If `entropy_weight` is under 0.025, where float32 underflows, or there is no iteration.
    """
    check_sinkhorn(entropy_weight, num_iterations)
    # a common factor changes nothing, and entries from exp(-2 / entropy_weight) to 1 neither over- nor underflow
    plan = ((cosines - 1) / entropy_weight).exp_()
    rows, columns = plan.new_ones(plan.shape[0]), plan.new_ones(plan.shape[1])
    for _ in range(num_iterations):
        columns = plan.shape[0] / plan.shape[1] / (rows @ plan)
        rows = 1 / (plan @ columns)
    return plan.mul_(columns).mul_(rows[:, None])


def check_sinkhorn(entropy_weight: float, num_iterations: int) -> None:
    """Refuse what does not converge.

    Raises:
        ValueError: If `entropy_weight` is under 0.025, where float32 underflows, or there is no iteration.
    """
    if not entropy_weight >= MIN_ENTROPY_WEIGHT or num_iterations < 1:
        raise ValueError(
            f"Expected an entropy weight of at least {MIN_ENTROPY_WEIGHT} and at least one iteration; got "
            f"{entropy_weight} and {num_iterations}. Try 0.05 and 3."
        )
