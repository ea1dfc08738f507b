"""The least few of thousands of costs, for many queries: a quarter of the time of a partial sort on a CPU."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# costs of which only the least is looked at, at first
_GROUP = 16
# from which on the calls that this takes are worth it
_MANY_QUERIES = 8


def least_costs(
    costs: Float[Tensor, "query sum"], number: int
) -> tuple[Float[Tensor, "query _"], Int[Tensor, "query _"]]:
    """Return the `number` least costs, or all there are, ascending, and where they are.

    Costs are put into groups of 16. The number-th least of the groups' minima is no less than the number-th least cost,
    and seldom much more, so that few costs are up to it: these alone are sorted.

    Args:
        costs: Finite.
        number: At least one.
    """
    if number == 1:  # several times as fast as a partial sort
        least, place = costs.min(dim=1, keepdim=True)
        return least, place
    num_groups, is_plain = costs.shape[1] // _GROUP, costs.device.type == "cpu" and costs.dtype == torch.float32
    if len(costs) < _MANY_QUERIES or not is_plain or costs.shape[1] % _GROUP or num_groups < number:
        least, place = costs.topk(min(number, costs.shape[1]), dim=1, largest=False)
        return least, place
    table = costs.detach().numpy()
    # neighbours are in different groups: the minimum is taken over rows of consecutive numbers
    minima = table.reshape(len(table), _GROUP, num_groups).min(axis=1)
    minima.partition(number - 1, axis=1)
    found = np.flatnonzero(table <= minima[:, number - 1 : number])
    row, column = np.divmod(found, table.shape[1])
    counts = np.bincount(row, minlength=len(table))
    # one integer sorts by cost, then by place: the bits of negative floats are in reverse order
    keys = table.ravel()[found].view(np.int32).astype(np.int64)
    keys ^= (keys >> 63) & 0x7FFFFFFF
    keys <<= 32
    keys |= column
    padded = np.full((len(table), int(counts.max(initial=number))), np.iinfo(np.int64).max)
    padded[row, np.arange(len(found)) - (np.cumsum(counts) - counts)[row]] = keys
    padded.sort(axis=1)
    places = torch.from_numpy(padded[:, :number] & 0xFFFFFFFF)
    return costs.gather(1, places), places
