"""What ends a command: the class says what to tell the shell, the text is the one sentence for people."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells the shell."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    ARTIFACT_REFUSED = 3


class ExportError(Exception):
    """Ends the command with one sentence on standard error."""

    exit_code = ExitCode.FAILED


class UsageError(ExportError):
    """Options, settings or column names are wrong: the sentence names the option and the remedy."""

    exit_code = ExitCode.WRONG_USE


class DataError(ExportError):
    """The content of a file cannot be trained on: the sentence names file, row and column where there is one."""


class ArtifactRefusedError(ExportError):
    """An artifact is not written, or not believed: the sentence says what does not hold."""

    exit_code = ExitCode.ARTIFACT_REFUSED


class ParityError(ArtifactRefusedError):
    """ONNX Runtime and PyTorch disagree about the same windows."""
