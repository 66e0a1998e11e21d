"""From the user's data to one ONNX file that is the whole detector. The only package that imports torch.

The map, in the order in which data flow through it:

    cli                what the user typed -> a command, an exit code, one sentence
    training_config    options and YAML -> TrainingConfig
    table_file         one CSV or Parquet file -> batches of its columns
    dataset            all files -> checked columns of entity, time, features (two passes, bounded memory)
    split              each row's place -> training, validation or calibration
    windows            rows -> windows, cut as the worker cuts them
    recommendation     how many rows there are -> the window, where the user names none
    families           the families by name: settings -> an untrained detector
    detector           what a detector family promises
    rebuilder          how the families that rebuild a window are fitted; `ensemble` makes one of several
    learning           the one training loop
    reconstruction     normalisation, error, raw score and blame, as one module
    autoencoder, ...   a module a family
    calibration        raw scores of held-back windows -> the curve from raw score to p-value
    cross_fitting      such scores where events are too few to hold any back
    graph              detector + curve -> one module with the contract's outputs
    onnx_file          that module -> ONNX bytes without traces of this machine
    parity             the gate: ONNX Runtime must say what PyTorch says
    artifact           bytes + manifest + golden windows -> the sealed file
    training           the composition: TrainingConfig -> file and TrainingReport
    report, inspection what people read

A further detector family is a module beside `autoencoder` and a few lines in `families`. A further command (bringing
one's own module, judging a detector on labelled data) is a module beside `training` and a line in `cli`.
"""

import os

# ONNX Runtime would tell its makers of each process, from the moment on that it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
