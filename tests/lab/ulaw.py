"""G.711 and WAV for the laboratory's scripts: its own tables (ITU-T G.711), so that it can check the bridge's. Standard library only."""

import struct
import wave


def _ulaw_encode(sample):
    sign = 0x80 if sample < 0 else 0
    magnitude = min(-sample if sample < 0 else sample, 32635) + 132
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | magnitude >> (exponent + 3) & 0x0F) & 0xFF


def _ulaw_decode(code):
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + 132 << (code >> 4 & 7)) - 132
    return -magnitude if code & 0x80 else magnitude


def _alaw_encode(sample):
    sign = 0x80 if sample >= 0 else 0
    magnitude = (sample if sample >= 0 else ~sample) >> 3
    exponent = max(magnitude.bit_length() - 5, 0)
    mantissa = magnitude >> max(exponent, 1) & 0x0F
    return (sign | exponent << 4 | mantissa) ^ 0x55


def _alaw_decode(code):
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, code & 0x0F
    magnitude = (mantissa << 4) + 8 if exponent == 0 else (mantissa << 4) + 0x108 << exponent - 1
    return magnitude if code & 0x80 else -magnitude


ENCODE = {
    "PCMU": bytes(_ulaw_encode(s) for s in range(-32768, 32768)),
    "PCMA": bytes(_alaw_encode(s) for s in range(-32768, 32768)),
}
DECODE = {"PCMU": [_ulaw_decode(c) for c in range(256)], "PCMA": [_alaw_decode(c) for c in range(256)]}


def from_wav(path, channel, codec="PCMU"):
    """One channel of a 16-bit WAV file at 8 kHz as G.711 bytes."""
    with wave.open(str(path), "rb") as file:
        if file.getframerate() != 8000 or file.getsampwidth() != 2:
            raise ValueError(f"{path}: expected 16 bit at 8000 Hz, found {8 * file.getsampwidth()} bit at {file.getframerate()} Hz")
        channels = file.getnchannels()
        data = file.readframes(file.getnframes())
    samples = struct.unpack(f"<{len(data) // 2}h", data)[min(channel, channels - 1)::channels]
    table = ENCODE[codec]
    return bytes(table[s + 32768] for s in samples)


def to_pcm(data, codec="PCMU"):
    """G.711 bytes as a list of 16-bit samples."""
    table = DECODE[codec]
    return [table[byte] for byte in data]


def silence(codec="PCMU"):
    """One sample of silence."""
    return ENCODE[codec][32768:32769]


def seconds(path):
    """Length of a WAV file."""
    with wave.open(str(path), "rb") as file:
        return file.getnframes() / file.getframerate()
