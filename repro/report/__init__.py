"""From records to what the pages show: tables, figures and verdict cards. Imports no torch."""

from .cards import VerdictCard, icon, verdict_card, verdict_table
from .differences import figure_differences
from .figures import figure_accuracy
from .html import Table
from .layers import figure_layers
from .style import (
    CHECKS,
    METHODS,
    Picture,
    check_name,
    data_name,
    method_style,
    model_name,
    setup,
    show_figure,
)
from .tables import show_runs, show_table, table_cells

__all__ = [
    "CHECKS",
    "METHODS",
    "Picture",
    "Table",
    "VerdictCard",
    "check_name",
    "data_name",
    "figure_accuracy",
    "figure_differences",
    "figure_layers",
    "icon",
    "method_style",
    "model_name",
    "setup",
    "show_figure",
    "show_runs",
    "show_table",
    "table_cells",
    "verdict_card",
    "verdict_table",
]
