"""How much of a database a search looks at, whatever the machine (FlowHash, section 4.2)."""

from jaxtyping import Float, Int
from torch import Tensor


def evaluated_share(num_evaluated: Int[Tensor, " query"], num_items: int) -> Float[Tensor, " query"]:
    """Return eval = 100 N_p / N of each query, in percent; smaller is cheaper.

    Args:
        num_evaluated: N_p, the different items whose score was computed; an item met in two buckets counts once.
        num_items: N, all items of the database.

    Raises:
        ValueError: If there is no item, or a count is not within 0 and `num_items`.
    """
    if num_items < 1:
        raise ValueError(f"A share needs at least one item; got {num_items}. Index the database first.")
    if bool(((num_evaluated < 0) | (num_evaluated > num_items)).any()):
        raise ValueError(
            f"Expected 0 to {num_items} evaluated items; got {int(num_evaluated.min())} to {int(num_evaluated.max())}. "
            "Count an item once, however many probed buckets hold it."
        )
    return 100 * num_evaluated.double() / num_items
