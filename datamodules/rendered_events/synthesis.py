"""Synthesise sound events of ten classes, each recording with parameters of its own.

Every event is a source (harmonics, filtered noise, impulses) under an envelope, heard in a room, through a microphone,
over a background. Parameters are drawn a recording, so that classes overlap in loudness, pitch and noise and differ in
structure, as recorded events do.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.signal
from jaxtyping import Float

Waveform = Float[np.ndarray, " time"]
_Source = Callable[[np.random.Generator, np.random.Generator, int, int], Waveform]


@dataclass(frozen=True)
class Event:
    """A class of sound.

    Attributes:
        name: Category of ESC-50.
        target: Its number there.
        in_esc10: Whether ESC-10 has it.
        source: Draws a waveform from the recording's generator, the take's generator, its length and sample rate.
    """

    name: str
    target: int
    in_esc10: bool
    source: _Source


def render_event(
    event: Event, sample_rate_hz: int, seconds: float, recording_seed: tuple[int, ...], take_number: int
) -> Waveform:
    """Render one take; the same arguments give the same samples.

    Args:
        event: What is heard.
        sample_rate_hz: Rate of the result.
        seconds: Length of the result.
        recording_seed: Determines all that takes of one recording share.
        take_number: Determines onsets and noise of this take.

    Returns:
        Audio with a peak of at most 0.9.
    """
    recording = np.random.default_rng([*recording_seed, 0])
    take = np.random.default_rng([*recording_seed, 1, take_number])
    num_samples = round(seconds * sample_rate_hz)
    dry = event.source(recording, take, num_samples, sample_rate_hz)
    wet = _through_room(dry, recording, sample_rate_hz)
    background = _coloured_noise(take, num_samples, recording.uniform(0, 2))
    snr_db = recording.uniform(0, 20)
    background *= _rms(wet) / max(_rms(background), 1e-9) * 10 ** (-snr_db / 20)
    cutoff_hz = recording.uniform(0.35, 0.95) * sample_rate_hz / 2
    microphone = scipy.signal.butter(2, cutoff_hz, fs=sample_rate_hz, output="sos")
    heard = scipy.signal.sosfilt(microphone, wet + background)
    peak = 0.9 * 10 ** (-recording.uniform(0, 20) / 20)
    return np.asarray(heard / max(np.abs(heard).max(), 1e-9) * peak)


def _rms(waveform: Waveform) -> float:
    return float(np.sqrt(np.mean(waveform**2)))


def _coloured_noise(rng: np.random.Generator, num_samples: int, slope: float) -> Waveform:
    """Noise whose power falls as 1 / f^slope: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(num_samples))
    frequency = np.maximum(np.arange(len(spectrum)), 1)
    return np.fft.irfft(spectrum * frequency ** (-slope / 2), num_samples)


def _band_noise(rng: np.random.Generator, num_samples: int, low_hz: float, high_hz: float, rate_hz: int) -> Waveform:
    band = scipy.signal.butter(2, [low_hz, min(high_hz, 0.49 * rate_hz)], btype="band", fs=rate_hz, output="sos")
    return np.asarray(scipy.signal.sosfilt(band, rng.standard_normal(num_samples)))


def _through_room(waveform: Waveform, rng: np.random.Generator, rate_hz: int) -> Waveform:
    """Convolve with exponentially decaying noise, a plain model of a room of 0.1 to 0.8 s."""
    decay_seconds = rng.uniform(0.1, 0.8)
    time = np.arange(round(decay_seconds * rate_hz)) / rate_hz
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay_seconds)
    tail *= rng.uniform(0.05, 0.6) / np.linalg.norm(tail)
    tail[0] += 1
    return np.asarray(scipy.signal.fftconvolve(waveform, tail)[: len(waveform)])


def _place(num_samples: int, pieces: Sequence[tuple[float, Float[np.ndarray, "_"]]], rate_hz: int) -> Waveform:
    """Add pieces at their onsets in seconds; what sticks out is cut off."""
    out = np.zeros(num_samples)
    for onset_seconds, piece in pieces:
        start = round(onset_seconds * rate_hz)
        if 0 <= start < num_samples:
            stop = min(num_samples, start + len(piece))
            out[start:stop] += piece[: stop - start]
    return out


def _onsets(rng: np.random.Generator, seconds: float, period: float, jitter: float) -> list[float]:
    """Times about `period` apart, with relative jitter."""
    times, time = [], rng.uniform(0, min(period, 1.0))
    while time < seconds:
        times.append(float(time))
        time += period * (1 + jitter * rng.uniform(-1, 1))
    return times


def _harmonics(frequency_hz: Waveform, amplitudes: Float[np.ndarray, " partial"], rate_hz: int) -> Waveform:
    """Sum harmonics of a moving fundamental; those beyond the Nyquist frequency are silent."""
    phase = 2 * np.pi * np.cumsum(frequency_hz) / rate_hz
    out = np.zeros(len(frequency_hz))
    for number, amplitude in enumerate(amplitudes, start=1):
        out += amplitude * np.sin(number * phase) * (number * frequency_hz < 0.48 * rate_hz)
    return out


def _seconds(num_samples: int, rate_hz: int) -> Waveform:
    return np.arange(num_samples) / rate_hz


def _dog(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    pitch, length, roughness = recording.uniform(250, 900), recording.uniform(0.12, 0.3), recording.uniform(0.1, 0.6)
    pieces = []
    for onset in _onsets(take, num_samples / rate_hz, recording.uniform(0.35, 1.4), 0.4):
        time = _seconds(round(length * rate_hz), rate_hz)
        shape = np.sin(np.pi * time / length) ** 0.6
        glide = pitch * take.uniform(0.9, 1.1) * (1 + 0.5 * np.sin(np.pi * time / length))
        voiced = _harmonics(glide, 1 / np.arange(1, 12) ** 0.8, rate_hz)
        pieces.append((onset, shape * (voiced + roughness * take.standard_normal(len(time)))))
    return _place(num_samples, pieces, rate_hz)


def _rain(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    low, high = recording.uniform(300, 1500), recording.uniform(3000, 7500)
    hiss = _band_noise(take, num_samples, low, high, rate_hz)
    drops = take.standard_normal(num_samples) * (take.random(num_samples) < recording.uniform(0.0005, 0.01))
    ring = np.exp(-_seconds(200, rate_hz) * recording.uniform(400, 1500))
    return np.asarray(hiss + recording.uniform(1, 6) * scipy.signal.fftconvolve(drops, ring)[:num_samples])


def _crickets(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    time = _seconds(num_samples, rate_hz)
    carrier, pulse, chirp = recording.uniform(3000, 6000), recording.uniform(20, 60), recording.uniform(1, 4)
    gate = (np.sin(2 * np.pi * chirp * time + take.uniform(0, 6)) > recording.uniform(-0.5, 0.5)).astype(float)
    pulses = np.clip(np.sin(2 * np.pi * pulse * time), 0, None)
    return np.asarray(gate * pulses * np.sin(2 * np.pi * carrier * (1 + 0.002 * take.standard_normal()) * time))


def _birds(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    centre, sweep = recording.uniform(2000, 5500), recording.uniform(200, 1800)
    length, wobble = recording.uniform(0.06, 0.4), recording.uniform(4, 40)
    pieces = []
    for onset in _onsets(take, num_samples / rate_hz, recording.uniform(0.2, 0.9), 0.5):
        time = _seconds(round(length * take.uniform(0.6, 1.4) * rate_hz), rate_hz)
        glide = centre * take.uniform(0.85, 1.15) + sweep * np.sin(2 * np.pi * wobble * time + take.uniform(0, 6))
        pieces.append((onset, np.hanning(len(time)) * _harmonics(glide, np.array([1.0, 0.15]), rate_hz)))
    return _place(num_samples, pieces, rate_hz)


def _wind(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    time = _seconds(num_samples, rate_hz)
    low = recording.uniform(60, 250)
    air = _band_noise(take, num_samples, low, low * recording.uniform(3, 10), rate_hz)
    gust = 1 + 0.8 * np.sin(2 * np.pi * recording.uniform(0.1, 0.7) * time + take.uniform(0, 6))
    whistle_hz = recording.uniform(300, 1200) * (1 + 0.1 * np.sin(2 * np.pi * 0.4 * time))
    whistle = _harmonics(whistle_hz, np.array([recording.uniform(0, 0.15)]), rate_hz)
    return np.asarray(gust * (air / _rms(air) + whistle))


def _knock(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    resonance, damping = recording.uniform(90, 450), recording.uniform(20, 60)
    gap, count = recording.uniform(0.12, 0.35), int(recording.integers(2, 6))
    time = _seconds(round(0.25 * rate_hz), rate_hz)
    pieces = []
    for group in _onsets(take, num_samples / rate_hz, recording.uniform(1.2, 2.5), 0.3):
        for number in range(count):
            body = np.sin(2 * np.pi * resonance * time) + 0.6 * np.sin(2 * np.pi * 2.4 * resonance * time)
            click = take.standard_normal(len(time)) * np.exp(-300 * time)
            pieces.append((group + number * gap * take.uniform(0.9, 1.1), np.exp(-damping * time) * body + click))
    return _place(num_samples, pieces, rate_hz)


def _clock(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    period, tone = recording.choice([0.25, 0.5, 1.0]) * recording.uniform(0.95, 1.05), recording.uniform(1200, 5000)
    tock = tone * recording.uniform(0.75, 1.25)
    time = _seconds(round(0.06 * rate_hz), rate_hz)
    ticks = []
    for number, onset in enumerate(_onsets(take, num_samples / rate_hz, float(period), 0.005)):
        pitch = tock if number % 2 else tone
        tick = np.exp(-150 * time) * (np.sin(2 * np.pi * pitch * time) + 0.5 * take.standard_normal(len(time)))
        ticks.append((onset, tick))
    return _place(num_samples, ticks, rate_hz)


def _siren(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    time = _seconds(num_samples, rate_hz)
    centre, depth, rate = recording.uniform(500, 1400), recording.uniform(0.15, 0.5), recording.uniform(0.15, 3)
    swing = np.sin(2 * np.pi * rate * time + take.uniform(0, 6))
    if recording.random() < 0.4:  # two tones rather than a sweep
        swing = np.sign(swing)
    return _harmonics(centre * (1 + depth * swing), 1 / np.arange(1, 7) ** recording.uniform(0.7, 2), rate_hz)


def _engine(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    time = _seconds(num_samples, rate_hz)
    idle, drift = recording.uniform(25, 120), recording.uniform(0, 0.3)
    speed = idle * (1 + drift * np.sin(2 * np.pi * recording.uniform(0.05, 0.5) * time + take.uniform(0, 6)))
    body = _harmonics(speed, recording.uniform(0.2, 1, 25) / np.arange(1, 26) ** 0.6, rate_hz)
    return np.asarray(body + recording.uniform(0.1, 0.8) * _coloured_noise(take, num_samples, 1.5) * _rms(body) * 20)


def _bells(recording: np.random.Generator, take: np.random.Generator, num_samples: int, rate_hz: int) -> Waveform:
    pitch, decay = recording.uniform(180, 700), recording.uniform(0.8, 3)
    partials = np.array([0.5, 1, 1.19, 1.5, 2, 2.76, 4.07]) * recording.uniform(0.99, 1.01, 7)
    strengths = recording.uniform(0.2, 1, 7)
    time = _seconds(round(3 * rate_hz), rate_hz)
    pieces = []
    for onset in _onsets(take, num_samples / rate_hz, recording.uniform(0.7, 2.5), 0.2):
        tone = take.choice([1.0, 1.0, 0.8, 1.25]) * pitch
        ring = sum(
            strength * np.exp(-time * ratio / decay) * np.sin(2 * np.pi * tone * ratio * time)
            for ratio, strength in zip(partials, strengths, strict=True)
        )
        pieces.append((onset, np.asarray(ring)))
    return _place(num_samples, pieces, rate_hz)


EVENTS = (
    Event("dog", 0, True, _dog),
    Event("rain", 10, True, _rain),
    Event("crickets", 13, False, _crickets),
    Event("chirping_birds", 14, False, _birds),
    Event("wind", 16, False, _wind),
    Event("door_wood_knock", 30, False, _knock),
    Event("clock_tick", 38, True, _clock),
    Event("siren", 42, False, _siren),
    Event("engine", 44, False, _engine),
    Event("church_bells", 46, False, _bells),
)
