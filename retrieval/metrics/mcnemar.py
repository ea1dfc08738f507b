"""McNemar's test: are two methods correct equally often on the same queries?

McNemar, Note on the sampling error of the difference between correlated proportions or percentages, 1947. Queries that
both methods get right, or both wrong, tell nothing; of the others, b are won by the first method and c by the second,
and if the methods are equally good, b is binomial with b + c trials at 1/2.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import scipy.stats
from jaxtyping import Bool
from torch import Tensor

McNemarMethod = Literal["exact", "corrected"]


@dataclass(frozen=True)
class ContingencyTable:
    """Queries by which of two methods is correct on them.

    Attributes:
        both_correct: Top left of the usual 2 x 2 table, whose rows are method a, correct first.
        only_a_correct: Top right, b in formulas.
        only_b_correct: Bottom left, c in formulas.
        neither_correct: Bottom right.

    Raises:
        ValueError: If a count is negative or there is no query.
    """

    both_correct: int
    only_a_correct: int
    only_b_correct: int
    neither_correct: int

    def __post_init__(self) -> None:
        counts = (self.both_correct, self.only_a_correct, self.only_b_correct, self.neither_correct)
        if min(counts) < 0 or sum(counts) == 0:
            raise ValueError(
                f"A contingency table counts queries, at least one, none below zero; got {counts}. "
                "Look at the query split, or at the order of the cells."
            )

    @property
    def num_queries(self) -> int:
        """Queries in all four cells."""
        return self.both_correct + self.only_a_correct + self.only_b_correct + self.neither_correct


@dataclass(frozen=True)
class McNemarTest:
    """What McNemar's test finds.

    Attributes:
        table: The counts it was computed from.
        statistic: `exact`: min(b, c). `corrected`: (|b - c| - 1)^2 / (b + c), chi-squared with one degree of freedom.
        p_value: Two-sided probability of a table at least as lopsided if the methods are equally good.
        method: Which of the two it is.
    """

    table: ContingencyTable
    statistic: float
    p_value: float
    method: McNemarMethod


def contingency_table(correct_a: Bool[Tensor, " query"], correct_b: Bool[Tensor, " query"]) -> ContingencyTable:
    """Count the queries by which of two methods is correct on them.

    Args:
        correct_a: Whether method a is correct, such as whether its first item is relevant.
        correct_b: The same of method b on the same queries in the same order.

    Raises:
        ValueError: If there is no query, or the methods differ in their number.
    """
    if len(correct_a) != len(correct_b):
        raise ValueError(
            f"Expected the same queries for both methods; got {len(correct_a)} and {len(correct_b)}. "
            "Score both on one query set in one order."
        )
    return ContingencyTable(
        both_correct=int((correct_a & correct_b).sum()),
        only_a_correct=int((correct_a & ~correct_b).sum()),
        only_b_correct=int((~correct_a & correct_b).sum()),
        neither_correct=int((~correct_a & ~correct_b).sum()),
    )


def mcnemar(
    correct_a: Bool[Tensor, " query"], correct_b: Bool[Tensor, " query"], method: McNemarMethod = "exact"
) -> McNemarTest:
    """Test whether two methods are correct equally often on the same queries.

    Each query counts once: several seeds or retrievals of one query are not independent and must not be stacked.

    Args:
        correct_a: Whether method a is correct, such as whether its first item is relevant.
        correct_b: The same of method b on the same queries in the same order.
        method: See `mcnemar_of_table`.

    Raises:
        ValueError: If there is no query, the methods differ in their number, or the test is unknown.
    """
    return mcnemar_of_table(contingency_table(correct_a, correct_b), method)


def mcnemar_of_table(table: ContingencyTable, method: McNemarMethod = "exact") -> McNemarTest:
    """Test a contingency table, such as a published one.

    Where the methods never disagree there is no evidence: the statistic is 0 and p is 1.

    Args:
        table: The counts.
        method: `exact` is the binomial test, right for any count. `corrected` is the chi-squared approximation with
            the continuity correction of Edwards (1948), which publications often print. The correction takes no more
            than |b - c| away, so that b = c gives 0 as in R; statsmodels gives 1 / (b + c) there.

    Raises:
        ValueError: If the test is unknown.
    """
    if method not in get_args(McNemarMethod):
        raise ValueError(f"method must be one of {', '.join(get_args(McNemarMethod))}; got {method!r}.")
    b, c = table.only_a_correct, table.only_b_correct
    if b + c == 0:
        return McNemarTest(table, 0.0, 1.0, method)
    if method == "exact":
        return McNemarTest(table, float(min(b, c)), float(scipy.stats.binomtest(b, b + c, 0.5).pvalue), method)
    statistic = max(abs(b - c) - 1, 0) ** 2 / (b + c)
    return McNemarTest(table, statistic, float(scipy.stats.chi2.sf(statistic, df=1)), method)
