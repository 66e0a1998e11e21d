"""Ten million rows of a Parquet file: what training on them takes beyond what it takes anyway."""

from pathlib import Path

from tests.benchmarks.large_file import trained, write_rows

FEATURES, WINDOW = 2, 32
KEPT_ROWS = 200_000 * WINDOW  # under the windows that are kept by default
LEEWAY_MIB = 100  # of the allocator, and of blocks on their way


def test_memory_is_bounded_by_the_windows_that_are_kept(tmp_path: Path) -> None:
    few, many = tmp_path / "few.parquet", tmp_path / "many.parquet"
    write_rows(few, 100_000, FEATURES)
    write_rows(many, 10_000_000, FEATURES)
    _, anyway_mib = trained(few, tmp_path / "few.onnx")
    _, most_mib = trained(many, tmp_path / "many.onnx")
    # Each as Dataset.sample promises, twice while they are sorted.
    assert most_mib < anyway_mib + 2 * KEPT_ROWS * (4 * FEATURES + 21) / 2**20 + LEEWAY_MIB
