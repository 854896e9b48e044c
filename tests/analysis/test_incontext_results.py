"""Names of what is drawn of acting in context."""

from analysis.figure import Picture, make_figure
from analysis.incontext_results import named, slug


def test_names_of_files_are_plain():
    assert slug("darkroom@size=5,horizon=25") == "darkroom-size-5-horizon-25"


def test_only_one_of_several_domains_is_named():
    picture = Picture("regret", "Regret", "", make_figure(height=1.0)[0], {})
    assert named(picture, "bandit", ["bandit"]) is picture
    found = named(picture, "bandit@noise=1", ["bandit@noise=1", "darkroom"])
    assert (found.name, found.title) == ("regret_bandit-noise-1", "Regret: bandit@noise=1")
