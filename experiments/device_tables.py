# %% [markdown]
# # The device tables in `configs/devices`, written from the published fits
# Run `python experiments/device_tables.py` to write them again. Conductances in uS, u = g / g_max.

# %%
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent.parent / "configs" / "devices"


def polynomial(u, coefficients):
    """`c0 + c1 u + c2 u^2 + ...`."""
    return np.polynomial.polynomial.polyval(u, coefficients)


def write(name, source, columns, **constants):
    """Writes one table: source and constants as comments, a header with units, rows."""
    units = {"g": "g [uS]", "sigma": "sigma [uS]"}
    lines = [f"# {line}" for line in source] + [f"# {key} = {value}" for key, value in constants.items()]
    lines.append(",".join(units.get(key, key) for key in columns))
    lines += [",".join(f"{v:.6g}" for v in row) for row in zip(*columns.values(), strict=True)]
    (FOLDER / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


# %% [markdown]
# The grid is fine where ln u and u^-0.65 are steep, and goes past g_max because the 1/f noise is evaluated at the
# programmed conductance, which may lie above.

# %%
kinks = [0.0076, 0.00817, 0.0945, 0.16, 0.2, 0.3055]
fine = np.unique(np.concatenate([np.geomspace(5e-4, 1.3, 300), np.arange(0, 1.301, 0.01), kinks]))
log_u = np.log(np.maximum(fine, 1e-7))
even = np.linspace(0, 1, 401)

# %%
write(
    "pcm_ibm",
    [
        "IBM phase-change memory, 90 nm, one million devices; two-cell pairs, g_max 25 uS.",
        "Source: Nandakumar et al., ICECS 2019 (ieeexplore 8964852); Joshi et al., Nat. Commun. 11:2473 (2020).",
        "sigma = 0.26348 + 1.9650 u - 1.1731 u^2 uS; nu = clip(-0.0155 ln u + 0.0244, 0.049, 0.1);",
        "nu_sigma = clip(-0.0125 ln u - 0.0059, 0.008, 0.045); q = min(0.0088 / max(u^0.65, 0.001), 0.2)",
    ],
    {
        "g": 25 * fine,
        "sigma": polynomial(fine, [0.26348, 1.9650, -1.1731]),
        "nu": np.clip(-0.0155 * log_u + 0.0244, 0.049, 0.1),
        "nu_sigma": np.clip(-0.0125 * log_u - 0.0059, 0.008, 0.045),
        "q": np.minimum(0.0088 / np.maximum(fine**0.65, 1e-3), 0.2),
    },
    g_max="25 uS",
    t0="20 s",
    t_read="250 ns",
)

# %%
write(
    "pcm_hermes",
    [
        "IBM HERMES chip, phase-change memory, two devices per polarity, g_max 20.7 uS.",
        "Source: Le Gallo et al., Nat. Electron. 6 (2023); Khaddam-Aljameh et al., JSSC 57 (2022); Vasilopoulos",
        "et al., IEEE TED 70 (2023). sigma = 0.16603222 + 4.71806468 u - 8.48101252 u^2 + 4.68961419 u^3 uS;",
        "nu = clip(-0.0387 ln u - 0.0182, 0.072, 0.13) for u < 0.0945, else -0.0436 u^2 - 0.0126 u + 0.0736;",
        "nu_sigma = clip(-0.0117 ln u - 0.0057, 0.0091, 0.04) for u < 0.3055, else -0.0118 u^2 + 0.0093 u + 0.0073;",
        "q = clip(-0.0117 ln u - 0.0069, 0.015, 0.04) for u < 0.16, else 0.0069 u^3 - 0.0280 u^2 + 0.0211 u + 0.0123",
    ],
    {
        "g": 20.7 * fine,
        "sigma": polynomial(fine, [0.16603222, 4.71806468, -8.48101252, 4.68961419]),
        "nu": np.where(
            fine < 0.0945,
            np.clip(-0.0387 * log_u - 0.0182, 0.072, 0.13),
            polynomial(fine, [0.0736, -0.0126, -0.0436]),
        ).clip(0),
        "nu_sigma": np.where(
            fine < 0.3055,
            np.clip(-0.0117 * log_u - 0.0057, 0.0091, 0.04),
            polynomial(fine, [0.0073, 0.0093, -0.0118]),
        ).clip(0),
        "q": np.where(
            fine < 0.16,
            np.clip(-0.0117 * log_u - 0.0069, 0.015, 0.04),
            polynomial(fine, [0.0123, 0.0211, -0.0280, 0.0069]),
        ).clip(0),
    },
    g_max="20.7 uS",
    t0="300 s",
    t_read="512 ns",
)

# %%
write(
    "pcm_joshi_cubic",
    [
        "IBM phase-change memory: the fit of CrossSim 3 to Fig. 3b of Joshi et al., Nat. Commun. 11:2473 (2020).",
        "sigma = -0.00178767 g^2 + 0.07585724 g + 0.28638599 uS, g <= 25 uS, on/off ratio 100. No drift.",
    ],
    {"g": 25 * even, "sigma": polynomial(25 * even, [0.28638599, 0.07585724, -0.00178767])},
    g_min="0.25 uS",
    g_max="25 uS",
)

# %%
WAN = "ReRAM, NeuRRAM chip: Wan et al., Nature 608:504 (2022), doi 10.1038/s41586-022-04992-8."
for name, when, coefficients in (
    ("reram_wan", "1 second", [0.348, 16.030, -43.853, 45.393, -16.815]),
    ("reram_wan_1day", "1 day", [0.701, 22.086, -50.773, 47.095, -16.458]),
    ("reram_wan_2days", "2 days", [0.782, 20.274, -43.507, 37.062, -11.934]),
):
    write(
        name,
        [
            WAN,
            f"{when} after programming; the fourth-order fit of aihwkit 1.2, g_max 40 uS. Other fit: reram_wan_cubic.",
            "sigma = " + " + ".join(f"{c:g} u^{i}" for i, c in enumerate(coefficients)) + " uS",
        ],
        {"g": 40 * even, "sigma": polynomial(even, coefficients)},
    )
write(
    "reram_wan_cubic",
    [
        WAN,
        "1 second after programming; the cubic fit of CrossSim 3 to Extended Data Fig. 3, g <= 39.26 uS.",
        "Differs from reram_wan: 1.05 against 0.35 uS at u = 0, 1.68 against 1.10 uS at u = 1.",
        "sigma = 1.053 + 0.2374 g - 1.167e-2 g^2 + 1.536e-4 g^3 uS",
    ],
    {"g": 39.26 * even, "sigma": polynomial(39.26 * even, [1.053, 0.2374, -1.167e-2, 1.536e-4])},
)

# %%
write(
    "reram_milo",
    [
        "ReRAM: Milo et al., IRPS 2021 (ieeexplore 9405119), verify algorithm IGVVA-100, 50 to 225 uS.",
        "sigma = -0.009107 g + 4.782321 uS. The cell's nonlinear I-V curve is not part of the table.",
    ],
    {"g": np.array([50.0, 225.0]), "sigma": polynomial(np.array([50.0, 225.0]), [4.782321, -0.009107])},
)
