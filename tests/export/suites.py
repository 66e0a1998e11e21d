"""A small suite of the layout that `benchmark` reads: noise, and anomalies that stand far out."""

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

DAY_S = 86_400
FIRST_CARD_DAY = 101  # 2018-07-11, counted from 2018-04-01


def noise(rows: int, features: int, *, seed: int, anomalous: slice) -> tuple[np.ndarray, np.ndarray]:
    """(rows, features) and the label of each row."""
    values = np.random.default_rng(seed).normal(size=(rows, features)).astype(np.float32)
    label = np.zeros(rows, dtype=np.uint8)
    values[anomalous], label[anomalous] = 9.0, 1
    return values, label


def write_suite(folder: Path) -> Path:
    """Two series, two servers, one table, a card, some sessions, and pictures of two digits."""
    arrays: dict[str, np.ndarray] = {}
    for seed, name in enumerate(("first", "second")):
        arrays[f"{name}/x"], arrays[f"{name}/y"] = noise(600, 1, seed=seed, anomalous=slice(500, 510))
    np.savez(folder / "ts_u_public.npz", **arrays)
    facts = [{"name": name, "train_len": 400, "vus_window": 10, "dim": 1} for name in ("first", "second")]
    (folder / "ts_u_public.json").write_text(json.dumps(facts), encoding="utf-8")
    (folder / "ts_u_public_published_vuspr.csv").write_text(
        "name,dataset,Old,New\nfirst,N,0.2,0.4\nsecond,N,0.4,0.6\n", encoding="utf-8"
    )
    (folder / "ts_u_public_local_baselines_vuspr.csv").write_text(
        "name,dataset,ae|last,ae|avg\nfirst,N,0.1,0.3\nsecond,N,0.3,0.5\n", encoding="utf-8"
    )
    servers: dict[str, np.ndarray] = {}
    for seed, name in enumerate(("omi-1", "omi-3")):
        servers[f"{name}/x_train"], _ = noise(50, 2, seed=seed, anomalous=slice(0, 0))
        servers[f"{name}/x_test"], servers[f"{name}/y_test"] = noise(40, 2, seed=seed + 9, anomalous=slice(20, 25))
    np.savez(folder / "asd_public.npz", **servers)
    rows, label = noise(600, 3, seed=3, anomalous=slice(0, 20))
    np.savez(folder / "tabular_public.npz", **{"set/X": rows, "set/y": label})
    (folder / "tabular_public_published_auroc_semi.csv").write_text("dataset,KNN\nset,90.0\n", encoding="utf-8")
    (folder / "tabular_public_local_baselines_fileorder.csv").write_text(
        "ds,seed,m,auroc,ap\nset,0,knn5,80,50\nset,1,knn5,90,60\n", encoding="utf-8"
    )
    pyarrow.parquet.write_table(cards(), folder / "card_tx_public.parquet")
    sessions = ["train,0,1 2", "train,0,2", "test,0,1 2 2", "test,1,1 9", "test,0,2"]
    with gzip.open(folder / "log_hdfs_sequences.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join(["split,label,events", *sessions]) + "\n")
    np.savez(folder / "digits_public.npz", **digits())
    return folder


def digits() -> dict[str, np.ndarray]:
    """Four pictures of 2 x 2 of either of two digits, in turns, where a filter leaves half of the noise."""
    digit = np.tile([3.0, 7.0], 4)
    picture = np.tile(np.where(digit == 3, 1.0, 9.0)[:, None], 4)
    return {
        "digit": digit,
        "picture": picture,
        "is_training": np.arange(8) < 4,
        "noisy": picture + 4,
        "wiener": picture + 2,
    }


def cards() -> pa.Table:
    """Two customers, a transaction each of every day of three weeks; the last but one day holds two frauds."""
    day = np.repeat(np.arange(FIRST_CARD_DAY, FIRST_CARD_DAY + 21), 2)
    customer = np.tile([7, 3], 21)
    scenario = np.zeros(42, dtype=np.int64)
    scenario[[38, 39]] = 1, 3
    return pa.table(
        {
            "tx_id": np.arange(42),
            "ts": day * DAY_S + customer,
            "customer": customer,
            "terminal": np.zeros(42, dtype=np.int64),
            "amount": np.where(scenario == 1, 300.0, 10.0),
            "fraud": (scenario > 0).astype(np.int64),
            "scenario": scenario,
        }
    )
