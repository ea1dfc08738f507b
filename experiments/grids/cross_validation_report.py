"""Show what a cross-validation chose: a table and a curve."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from experiments.compare.study_table import Quantity, StudyTable, p_text, percent
from experiments.grids.cross_validation import Choice


def choice_table(choices: Mapping[int, Choice], num_folds: int) -> StudyTable:
    """Lay out a line a value and, for each test fold, the mean with its deviation, and the p of its difference.

    Args:
        choices: By test fold; 0 where there is none.
        num_folds: Parts that the labelled clips were dealt into.
    """
    first = next(iter(choices.values()))
    headers, columns = [first.option], list[list[str]]()
    for fold, choice in choices.items():
        of_fold = f", test fold {fold}" if fold else ""
        headers += [f"mAP in %{of_fold}", "±", "p"]
        columns.append([_mark(percent(score.mean_ap), score.value == choice.value) for score in choice.scores])
        columns.append([percent(score.std) for score in choice.scores])
        columns.append(["" if score.p_value is None else p_text(score.p_value) for score in choice.scores])
    values = [score.value for score in first.scores]
    num_queries = ", ".join(str(choice.num_queries) for choice in choices.values())
    notes = [
        f"{first.data_name}: {num_queries} labelled clips ask in {num_folds} folds, each fold answered by the other "
        f"labelled clips, which are trained on; {_seeds(first.scores[0].num_seeds)}. Test queries had no part.",
        "* chosen: the best mean, of tied ones the smallest; ± is over folds. p: of the difference to it, paired "
        "permutation test over labelled clips, seeds meaned first, Holm's correction.",
    ]
    alike = [score.value for score in first.scores if score.p_value is not None and score.p_value > 0.05]
    if alike:
        notes.append(f"Not significantly different from the choice (p > 0.05): {', '.join(alike)}.")
    lines = [[value, *(column[row] for column in columns)] for row, value in enumerate(values)]
    return StudyTable("choice", f"{first.option} by cross-validation inside the training set", headers, lines, notes)


def draw_choices(choices: Mapping[int, Choice]) -> Figure:
    """Draw mAP against the option, a curve a test fold, what was chosen as a star."""
    first = next(iter(choices.values()))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for position, (fold, choice) in enumerate(choices.items()):
        values = [float(score.value) for score in choice.scores]
        means = [100 * score.mean_ap for score in choice.scores]
        deviations = [100 * score.std for score in choice.scores]
        colour = f"C{position}"
        label = f"test fold {fold}" if fold else "mean, deviation over folds"
        axes.errorbar(values, means, deviations, marker="o", ms=4, capsize=3, lw=1.2, color=colour, label=label)
        chosen = next(score for score in choice.scores if score.value == choice.value)
        axes.plot(float(chosen.value), 100 * chosen.mean_ap, "*", ms=15, color=colour, label=f"chosen: {chosen.value}")
    positive = [float(score.value) for score in first.scores if float(score.value) > 0]
    if positive and max(positive) >= 100 * min(positive):
        axes.set_xscale("symlog", linthresh=min(positive))  # 0 has a place
    axes.set(xlabel=first.option, ylabel="mAP in %", title=first.data_name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def _seeds(num_seeds: int) -> str:
    return "one seed" if num_seeds == 1 else f"mean over {num_seeds} seeds"


def _mark(text: str, is_chosen: bool) -> str:
    return Quantity(f"{text} *", text.value) if is_chosen and isinstance(text, Quantity) else text
