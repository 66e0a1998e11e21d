"""The network of the family `sparse-ae`: a wide code of which only the k largest units may be active.

Makhzani and Frey, k-Sparse Autoencoders, ICLR 2014.
"""

import torch
from torch import Tensor, nn

from export.reconstruction import power_of_two

_LEAST_CODE, _MOST_CODE = 16, 1024
SHARE = 0.1  # of the code that is active, unless told otherwise


class SparseAutoencoder(nn.Module):
    """(batch, W * F) to `code` units, the `active` largest of them, and back."""

    def __init__(self, *, inputs: int, code: int, active: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = nn.Linear(inputs, code)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Linear(code, inputs)
        self.active = active

    def forward(self, normal: Tensor) -> Tensor:
        """(batch, W * F) z-scores, rebuilt."""
        code = self.encoder(normal)
        least = torch.topk(code, self.active, dim=1).values[:, -1:]
        rebuilt: Tensor = self.decoder(self.dropout(torch.where(code >= least, code, 0.0)))
        return rebuilt


def code_size(inputs: int, asked: int | None) -> int:
    """Units of the code: as many as inputs unless told otherwise, between 16 and 1024."""
    return asked or min(max(power_of_two(inputs), _LEAST_CODE), _MOST_CODE)
