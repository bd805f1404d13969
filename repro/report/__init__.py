"""From records to what the pages show: tables, figures and verdict cards. Imports no torch."""

from .baselines import baseline_cells, show_baselines
from .cards import VerdictCard, icon, verdict_card, verdict_table
from .differences import figure_differences
from .figures import figure_accuracy
from .flow import flow_cells, show_flow
from .html import Table
from .layers import figure_layers
from .overlap import figure_overlap, overlap_cells
from .profiles import figure_profiles
from .replication import replication_cells, show_cells
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
    "baseline_cells",
    "check_name",
    "data_name",
    "figure_accuracy",
    "figure_differences",
    "figure_layers",
    "figure_overlap",
    "figure_profiles",
    "flow_cells",
    "icon",
    "method_style",
    "model_name",
    "overlap_cells",
    "replication_cells",
    "setup",
    "show_baselines",
    "show_cells",
    "show_figure",
    "show_flow",
    "show_runs",
    "show_table",
    "table_cells",
    "verdict_card",
    "verdict_table",
]
