"""Facts read off a graph: its cost, what its units see, how it moves, which gradient is wrong."""

from graphc.analysis.alignment import Certificate, Counterexample
from graphc.analysis.angular_update import angular_update
from graphc.analysis.centre import centre_offsets
from graphc.analysis.compose_affine import compose_affine
from graphc.analysis.cost import GraphCost, NodeCost, cost
from graphc.analysis.effective import EffectiveField, effective_receptive_field
from graphc.analysis.equivariance import Break, Equivariance, equivariance
from graphc.analysis.field_table import FieldRow, FieldTable, field_table
from graphc.analysis.gradient_check import GradientCheck, NodeCheck, gradient_check
from graphc.analysis.moments import Moments, NodeMoments, moments
from graphc.analysis.progressions import Progressions
from graphc.analysis.projective_field import ProjectiveField, projective_field
from graphc.analysis.receptive_field import (
    ReceptiveField,
    ReceptiveFields,
    receptive_field,
    receptive_fields,
)
from graphc.analysis.repair import repair
from graphc.analysis.sharing import Sharing, check_sharing
from graphc.analysis.toeplitz import toeplitz

__all__ = [
    "Break",
    "Certificate",
    "Counterexample",
    "EffectiveField",
    "Equivariance",
    "FieldRow",
    "FieldTable",
    "GradientCheck",
    "GraphCost",
    "Moments",
    "NodeCheck",
    "NodeCost",
    "NodeMoments",
    "Progressions",
    "ProjectiveField",
    "ReceptiveField",
    "ReceptiveFields",
    "Sharing",
    "angular_update",
    "centre_offsets",
    "check_sharing",
    "compose_affine",
    "cost",
    "effective_receptive_field",
    "equivariance",
    "field_table",
    "gradient_check",
    "moments",
    "projective_field",
    "receptive_field",
    "receptive_fields",
    "repair",
    "toeplitz",
]
