"""What a ramp does, in sentences with units."""

from typing import Any


def explain(ramp: Any) -> list[tuple[str, str]]:
    """Rows (name, sentence) of a `Ramp`: what it converts, and every error that is on."""
    g_max = float(ramp.g_max)
    span = (
        "over the activation's own range"
        if ramp.span is None
        else f"over -{float(ramp.span):g} to {float(ramp.span):g}"
    )
    columns = "" if ramp.copies == 1 else f"; the best of {ramp.copies} columns by largest |INL_out|"
    rows = [
        (
            "ramp",
            f"{2**ramp.bits} codes ({ramp.bits} bits) of the activation itself, convention {ramp.convention!r} {span}, "
            f"reconstruction {ramp.reconstruction!r}; devices of {float(ramp.g_min) * 1e6:.4g} to {g_max * 1e6:.4g} uS",
        ),
        ("ramp programming", _programming(ramp, g_max)),
        ("ramp calibration", f"{ramp.calibration}, bias devices {ramp.bias}{columns}"),
    ]
    rows += [
        (name, sentence.format(100 * float(value)))
        for name, value, sentence in (
            ("ramp stuck devices", ramp.p_off, "{:.3g} % stuck at g_min"),
            ("ramp stuck devices", ramp.p_on, "{:.3g} % stuck at g_max"),
            ("ramp read noise", ramp.read_sigma, "std {:.3g} % of g_max per device, fresh at every pass"),
            ("ramp gain", ramp.gain, "{:.4g} % of that of the multiplying columns"),
        )
        if value is not None
    ]
    if ramp.v_ratio is not None:
        effect = "which cancels" if ramp.reference == "tracking" else "against a fixed ramp"
        rows.append(("ramp read voltage", f"{float(ramp.v_ratio):.4g} of nominal, {effect}"))
    where = "in a second pass of the ramp" if ramp.digital == "ramp" else "digital, exact"
    return [*rows, ("activation of digital values", where)]


def _programming(ramp: Any, g_max: float) -> str:
    if ramp.measured is not None:
        return f"measured conductances of {', '.join(sorted(ramp.measured))}"
    if ramp.sigma is None and ramp.tolerance is None:
        return "exact"
    parts = (
        []
        if ramp.sigma is None
        else [f"std {float(ramp.sigma):.3g} of g_max ({float(ramp.sigma) * g_max * 1e6:.3g} uS)"]
    )
    if ramp.tolerance is not None:
        parts.append(f"within {float(ramp.tolerance):.3g} of g_max ({float(ramp.tolerance) * g_max * 1e6:.3g} uS)")
    return f"{ramp.distribution} errors, {', '.join(parts)} per device; they add up along the ramp"
