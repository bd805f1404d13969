"""From records to what the pages show: tables, figures and verdict cards. Imports no torch."""

from .baselines import baseline_cells, show_baselines
from .cards import VerdictCard, icon, verdict_card, verdict_table
from .collapse import figure_collapse
from .compression import compression_cells, show_compression
from .compression_figures import figure_compression
from .cost_figures import figure_costs
from .costs import cost_cells, show_costs
from .course_figures import figure_courses
from .courses import course_cells
from .differences import figure_differences
from .dynamics import dynamics_cells, show_dynamics
from .dynamics_figures import figure_dynamics
from .equal import equal_density, equal_flops
from .existence_figures import figure_existence, show_existence
from .figures import figure_accuracy
from .flow import flow_cells, show_flow
from .html import Table
from .judged import judged
from .layers import figure_layers
from .menus import CHECKS, METHODS
from .overlap import figure_overlap, overlap_cells
from .profiles import figure_profiles
from .replication import replication_cells, show_cells
from .style import (
    Picture,
    check_name,
    data_name,
    method_style,
    model_name,
    setup,
    show_figure,
)
from .sweep import at_reference, by_setting, show_sweep, sweep_cells
from .sweep_figures import figure_sweep
from .sweep_map import figure_grid
from .tables import show_runs, show_table, table_cells

__all__ = [
    "CHECKS",
    "METHODS",
    "Picture",
    "Table",
    "VerdictCard",
    "at_reference",
    "baseline_cells",
    "by_setting",
    "check_name",
    "compression_cells",
    "cost_cells",
    "course_cells",
    "data_name",
    "dynamics_cells",
    "equal_density",
    "equal_flops",
    "figure_accuracy",
    "figure_collapse",
    "figure_compression",
    "figure_costs",
    "figure_courses",
    "figure_differences",
    "figure_dynamics",
    "figure_existence",
    "figure_grid",
    "figure_layers",
    "figure_overlap",
    "figure_profiles",
    "figure_sweep",
    "flow_cells",
    "icon",
    "judged",
    "method_style",
    "model_name",
    "overlap_cells",
    "replication_cells",
    "setup",
    "show_baselines",
    "show_cells",
    "show_compression",
    "show_costs",
    "show_dynamics",
    "show_existence",
    "show_figure",
    "show_flow",
    "show_runs",
    "show_sweep",
    "show_table",
    "sweep_cells",
    "table_cells",
    "verdict_card",
    "verdict_table",
]
