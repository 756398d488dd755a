"""Every expected failure, with the exit code that the command line gives it.

A message is one line and names the file, what was found, what was expected, and the mend.
"""


class TusrecError(Exception):
    """Root of all expected failures; the command line prints it as one line."""

    exit_code = 1


class InputError(TusrecError):
    """A file or an option is not what it must be."""

    exit_code = 2


class OutputError(TusrecError):
    """Results cannot be written where they were asked for."""

    exit_code = 2


class BusyError(OutputError):
    """Another process is writing the same file."""


class OutOfMemoryError(TusrecError):
    """Host or device memory ran out, and smaller batches did not help."""

    exit_code = 3


class WeightsError(TusrecError):
    """A weight file is missing, truncated, or not the one in the manifest."""

    exit_code = 4
