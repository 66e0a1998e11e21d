"""The page for users names every option."""

from pathlib import Path

from export.training_config import TrainingConfig

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_every_option_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    missing = [name for name in TrainingConfig.model_fields if f"--{name.replace('_', '-')}" not in text]
    assert missing == []
