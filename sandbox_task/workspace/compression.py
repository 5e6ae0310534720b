"""zstd as archives have it: the standard library's, or its backport."""

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["compressor", "zstd"]
_LEVEL, _WORKERS, _JOB, _OVERLAP = 3, 2, 2**21, 9
_WINDOW = 23
"""The logarithm of the most bytes that unpacking may have to look back; level 3 takes 21."""
UNPACKING: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW}


def compressor() -> "zstd.ZstdCompressor":
    """A compressor for a whole workspace, with threads of its own. Small jobs keep its memory small; that
    each looks back at all of the one before it makes up for what they would lose.
    """
    parameter = zstd.CompressionParameter
    return zstd.ZstdCompressor(
        options={
            parameter.compression_level: _LEVEL,
            parameter.nb_workers: _WORKERS,
            parameter.job_size: _JOB,
            parameter.overlap_log: _OVERLAP,
            parameter.checksum_flag: 1,
        }
    )
