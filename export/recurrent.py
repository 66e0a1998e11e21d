"""The network of the family `gru-ae`: one GRU reads the window, another tells it again from what the first remembers.

Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP 2014; for anomalies Malhotra et al.,
LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection, 2016 (arXiv 1607.00148).
"""

from torch import Tensor, nn


class RecurrentAutoencoder(nn.Module):
    """(batch, W * F) as W steps of F values; `code` numbers is all that the second GRU learns of them."""

    def __init__(self, *, window: int, features: int, code: int, depth: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.window, self.features = window, features
        self.encoder = nn.GRU(features, code, num_layers=depth, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.GRU(code, code, num_layers=depth, batch_first=True)
        self.told = nn.Linear(code, features)

    def forward(self, normal: Tensor) -> Tensor:
        """(batch, W * F) z-scores, rebuilt."""
        steps = normal.reshape(-1, self.window, self.features)
        read, _ = self.encoder(steps)
        remembered = self.dropout(read[:, -1:, :]).expand(-1, self.window, -1)
        told, _ = self.decoder(remembered)
        rebuilt: Tensor = self.told(told)
        return rebuilt.flatten(1)
