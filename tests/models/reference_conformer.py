"""A Conformer's modules in float64 NumPy, written like the equations: loops over frames, keys and taps."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def norm(p, x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def linear(p, x):
    return x @ p["kernel"] + p.get("bias", 0.0)


def encoding(position, width):
    """Vaswani et al. 2017, section 3.5."""
    e = np.zeros(width)
    for i in range(width // 2):
        angle = position / 10000 ** (2 * i / width)
        e[2 * i], e[2 * i + 1] = np.sin(angle), np.cos(angle)
    return e


def attention(p, x, heads):
    """Dai et al. 2019, section 3.3, for one utterance `[frames, width]`; positions iff there are biases u and v."""
    frames, width = x.shape
    d = width // heads
    q, k, v = np.split(linear(p["qkv"], x), 3, axis=-1)
    y = np.zeros_like(x)
    for h in range(heads):
        cols = slice(h * d, (h + 1) * d)
        for i in range(frames):
            score = np.zeros(frames)
            for j in range(frames):
                score[j] = q[i, cols] @ k[j, cols]
                if "u" in p:
                    e = encoding(i - j, width)
                    e = e @ p["linear_pos"]["kernel"] if "linear_pos" in p else e
                    score[j] += p["u"][h] @ k[j, cols] + (q[i, cols] + p["v"][h]) @ e[cols]
            weight = np.exp((score - score.max()) / np.sqrt(d))
            y[i, cols] = weight / weight.sum() @ v[:, cols]
    return linear(p["out"], y)


def feed_forward(p, x):
    hidden = linear(p["up"], norm(p["norm"], x))
    return linear(p["down"], hidden * sigmoid(hidden))


def convolution(p, x):
    a, b = np.split(linear(p["pointwise_in"], norm(p["norm"], x)), 2, axis=-1)
    x, kernel = a * sigmoid(b), p["depthwise"]["kernel"][:, 0]
    y = np.tile(p["depthwise"]["bias"], (len(x), 1))
    for t in range(len(x)):
        for i, tap in enumerate(kernel):
            source = t + i - len(kernel) // 2
            if 0 <= source < len(x):
                y[t] += tap * x[source]
    y = norm(p["channel_norm"], y)
    return linear(p["pointwise_out"], y * sigmoid(y))


def block(p, x, modules, heads):
    """Gulati et al. 2020, equation 1, in the given order."""
    halves = 0
    for module in modules:
        if module == "ff":
            halves += 1
            x = x + feed_forward(p[f"ff{halves}"], x) / modules.count("ff")
        elif module == "conv":
            x = x + convolution(p["convolution"], x)
        else:
            x = x + attention(p["attention"], norm(p["attention_norm"], x), heads)
    return norm(p["norm"], x)


def convolution_2d(p, x, stride):
    """3x3 over `[frames, mels, channels]`, one zero beyond each border."""
    x = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    rows, cols = (range(0, n - 2, stride) for n in x.shape[:2])
    windows = np.array([[x[t : t + 3, m : m + 3] for m in cols] for t in rows])
    return np.einsum("tmijc,ijco->tmo", windows, p["kernel"]) + p["bias"]


def front_end(p, x, subsampling):
    """One utterance `[frames, mels]`; four convolutions and pooling, or two with strides."""
    x = x[..., None]
    for i, convolution in enumerate(p["convolutions"][i] for i in sorted(p["convolutions"])):
        x = np.maximum(convolution_2d(convolution, x, 1 if subsampling == "pool" else 2), 0)
        if subsampling == "pool" and i % 2 == 1:
            x = np.stack([x[t : t + 2].max(0) for t in range(0, len(x), 2)])
    return linear(p["linear"], x.reshape(len(x), -1))


def conformer(p, x, sizes):
    """Log probabilities `[frames, vocabulary]` of one utterance `[frames, mels]`."""
    x = front_end(p["front_end"], x, sizes.subsampling)
    for i in sorted(p["blocks"]):
        x = block(p["blocks"][i], x, sizes.modules, sizes.heads)
    logits = linear(p["output"], x)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))
