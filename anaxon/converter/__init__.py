"""Digital-to-analog and analog-to-digital converters."""
