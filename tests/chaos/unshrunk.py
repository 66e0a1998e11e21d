"""A pytest plugin: Hypothesis stops at the first failure it finds, where that it fails is all that matters."""

from hypothesis import Phase, settings

settings.register_profile(
    "unshrunk", phases=[Phase.explicit, Phase.generate], report_multiple_bugs=False, database=None
)
settings.load_profile("unshrunk")
