"""What happens to music on its way to a microphone: noise, a room, a start that is not on the grid.

FlowHash (2024), section 4.4; rooms act as in neural music fingerprinting practice: full linear convolution with the
second before the segment, so that the segment holds the reverberation of what came before it.
"""

import torch
import torch.nn.functional as F
import torchaudio.functional
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class Distortion(nn.Module):
    """Distort segments of music, whole batches on the device; all in float32, under autocast too.

    The room comes first, noise after it: the signal-to-noise ratio is that of the segment as it is heard. Silent
    segments stay silent where noise would be added, and silent noise adds nothing.

    Args:
        sample_rate_hz: Rate of all waveforms.
        segment_seconds: Length of a segment, D.
        context_seconds: What is given before a segment, C; a room's longest echo that counts.
        max_offset_seconds: Farthest that a distorted segment starts before or after the clean one, O.
        noise_probability: Of adding noise.
        reverb_probability: Of convolving with a room's impulse response; independent of noise.
        offset_probability: Of a start drawn uniformly within `max_offset_seconds`; independent of both.
        min_snr_db: Lowest signal-to-noise ratio drawn.
        max_snr_db: Highest; they are drawn uniformly.

    Raises:
        ValueError: If a probability is outside 0 to 1, a length is negative, or there is no segment.
    """

    def __init__(
        self,
        sample_rate_hz: int = 16_000,
        segment_seconds: float = 1.0,
        context_seconds: float = 1.0,
        max_offset_seconds: float = 0.05,
        noise_probability: float = 0.8,
        reverb_probability: float = 0.5,
        offset_probability: float = 1.0,
        min_snr_db: float = 0.0,
        max_snr_db: float = 20.0,
    ) -> None:
        super().__init__()
        probabilities = (noise_probability, reverb_probability, offset_probability)
        if min(probabilities) < 0 or max(probabilities) > 1:
            raise ValueError(
                "noise_probability, reverb_probability and offset_probability must be from 0 to 1; got "
                f"{noise_probability}, {reverb_probability} and {offset_probability}. 0 turns a distortion off."
            )
        if segment_seconds <= 0 or context_seconds < 0 or max_offset_seconds < 0 or min_snr_db > max_snr_db:
            raise ValueError(
                "Expected a segment longer than 0 s, context and offset of at least 0 s, min_snr_db no higher than "
                f"max_snr_db; got {segment_seconds}, {context_seconds}, {max_offset_seconds}, {min_snr_db} and "
                f"{max_snr_db}. Leave them out for the defaults."
            )
        self.sample_rate_hz = sample_rate_hz
        self.segment_samples = round(segment_seconds * sample_rate_hz)
        self.context_samples = round(context_seconds * sample_rate_hz)
        self.max_offset_samples = round(max_offset_seconds * sample_rate_hz)
        self.noise_probability = noise_probability
        self.reverb_probability = reverb_probability
        self.offset_probability = offset_probability
        self.min_snr_db = min_snr_db
        self.max_snr_db = max_snr_db

    @property
    def num_samples(self) -> int:
        """Samples of a training waveform: context, offset, segment, offset."""
        return self.context_samples + 2 * self.max_offset_samples + self.segment_samples

    @torch.no_grad()
    def forward(
        self,
        waveform: Float[Tensor, "batch time"],
        noise: Float[Tensor, "batch segment"],
        room: Float[Tensor, "batch response"],
        generator: torch.Generator,
        turn: tuple[int, int] = (0, 1),
    ) -> tuple[Float[Tensor, "batch segment"], Float[Tensor, "batch segment"]]:
        """Cut the clean segments out, and distort them at random.

        Args:
            waveform: `num_samples` each: context, offset, segment, offset.
            noise: As long as a segment, at any level.
            room: Impulse responses whose direct sound is at sample 0, zeros after their end.
            generator: On the waveforms' device; all that is random comes from it.
            turn: Number of this process and how many there are: what is random is drawn for the batches of all, whose
                generators are alike, and dealt to them in turn.

        Returns:
            Clean segments, then distorted ones.

        Raises:
            ValueError: If waveforms are of another length.
        """
        self._check_length(waveform, self.num_samples, "context, offset, segment and offset")
        num_segments, device = len(waveform), waveform.device

        def draw() -> Float[Tensor, " batch"]:
            own, num_processes = turn
            return torch.rand(num_segments * num_processes, generator=generator, device=device)[own::num_processes]

        waveform, offset = waveform.float(), self.max_offset_samples
        clean = waveform[:, self.context_samples + offset :][:, : self.segment_samples]
        shift = (draw() * (2 * offset + 1)).long().clamp(max=2 * offset) - offset
        shift = torch.where(draw() < self.offset_probability, shift, 0)
        snr_db = self.min_snr_db + (self.max_snr_db - self.min_snr_db) * draw()
        has_noise, has_room = draw() < self.noise_probability, draw() < self.reverb_probability
        heard = _cut(waveform, offset + shift, self.context_samples + self.segment_samples)
        return clean, self.distort_query(heard, noise, room, snr_db, has_noise, has_room)

    @torch.no_grad()
    def distort_query(
        self,
        waveform: Float[Tensor, "batch time"],
        noise: Float[Tensor, "batch query"],
        room: Float[Tensor, "batch response"],
        snr_db: Float[Tensor, " batch"],
        has_noise: Bool[Tensor, " batch"],
        has_room: Bool[Tensor, " batch"],
    ) -> Float[Tensor, "batch query"]:
        """Distort each query as it is told.

        Args:
            waveform: Context, then the query, which may have any length.
            noise: As long as a query, at any level.
            room: Impulse responses whose direct sound is at sample 0, zeros after their end.
            snr_db: Power of the query, after its room, over that of the noise; counts where `has_noise`.
            has_noise: Where noise is added.
            has_room: Where the query is heard in its room.

        Raises:
            ValueError: If the waveforms are not by the context longer than the noise.
        """
        self._check_length(waveform, self.context_samples + noise.shape[1], "context and as much as the noise has")
        with torch.autocast(waveform.device.type, enabled=False):
            waveform = waveform.float()
            query = waveform[:, self.context_samples :].clone()
            if bool(has_room.any()):
                query[has_room] = reverberate(waveform[has_room], room[has_room].float())[:, self.context_samples :]
            if bool(has_noise.any()):
                query[has_noise] = add_noise(query[has_noise], noise[has_noise].float(), snr_db[has_noise].float())
        return query

    def _check_length(self, waveform: Tensor, expected: int, parts: str) -> None:
        if waveform.shape[1] != expected:
            raise ValueError(
                f"Expected waveforms of {expected} samples: {parts}; got {waveform.shape[1]}. Give the data the "
                f"distortion's sample rate ({self.sample_rate_hz} Hz), segment, context and offset."
            )


def reverberate(
    waveform: Float[Tensor, "batch time"], room: Float[Tensor, "batch response"]
) -> Float[Tensor, "batch time"]:
    """Convolve in full, linearly; what rings on after the waveforms' end is cut off."""
    num_samples = waveform.shape[1]
    # an FFT of 8 to 16 times a power of 2 is fast, one of a large prime is not
    num_full = num_samples + room.shape[1] - 1
    unit = 2 ** max(0, num_full.bit_length() - 4)
    padding = -num_full % unit
    full: Tensor = torchaudio.functional.fftconvolve(waveform, F.pad(room, (0, padding)))
    return full[:, :num_samples]


def add_noise(
    signal: Float[Tensor, "batch time"], noise: Float[Tensor, "batch time"], snr_db: Float[Tensor, " batch"]
) -> Float[Tensor, "batch time"]:
    """Add noise at a ratio of the two powers over the whole length; silence stays what it is."""
    noisy: Tensor = torchaudio.functional.add_noise(signal, noise, snr_db)
    has_ratio = (signal.square().sum(dim=1) > 0) & (noise.square().sum(dim=1) > 0)
    return torch.where(has_ratio[:, None], noisy, signal)


def _cut(
    waveform: Float[Tensor, "batch time"], start: Int[Tensor, " batch"], num_samples: int
) -> Float[Tensor, "batch part"]:
    """Cut as many samples out of each waveform, from a start of its own."""
    position = start[:, None] + torch.arange(num_samples, device=waveform.device)
    return waveform.gather(1, position)
