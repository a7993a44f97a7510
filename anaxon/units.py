"""Physical constants (CODATA 2018, exact by the SI) in SI units."""

BOLTZMANN = 1.380649e-23  # J/K
ELEMENTARY_CHARGE = 1.602176634e-19  # C
ROOM_TEMPERATURE = 300.0  # K
