"""What is agreed before anything secret exists: the server's plan, the client's policy, the context.

RoundPlan    what the server proposes for many rounds
Agreement    the plan made concrete for one round and one vector length; the body of `Open`
Policy       what this client insists on, whatever the server proposes
context_of   the public hash of an agreement: salt of every derivation, in every signature
"""

from __future__ import annotations

from protocols.plan.agreement import LABEL_CONTEXT as LABEL_CONTEXT
from protocols.plan.agreement import Agreement as Agreement
from protocols.plan.agreement import ContextBytes as ContextBytes
from protocols.plan.agreement import context_of as context_of
from protocols.plan.checks import require_clients as require_clients
from protocols.plan.checks import require_floor as require_floor
from protocols.plan.checks import require_pinned as require_pinned
from protocols.plan.kinds import ENCRYPTED as ENCRYPTED
from protocols.plan.kinds import MAX_LENGTH as MAX_LENGTH
from protocols.plan.kinds import MAX_METRICS as MAX_METRICS
from protocols.plan.kinds import NOTHING as NOTHING
from protocols.plan.kinds import ONE_SHOT as ONE_SHOT
from protocols.plan.kinds import PAIRWISE as PAIRWISE
from protocols.plan.kinds import USUAL_CLIP as USUAL_CLIP
from protocols.plan.kinds import USUAL_LENGTH as USUAL_LENGTH
from protocols.plan.kinds import USUAL_MODES as USUAL_MODES
from protocols.plan.kinds import Excess as Excess
from protocols.plan.kinds import Promise as Promise
from protocols.plan.metric import Metric as Metric
from protocols.plan.noise import NoisePlan as NoisePlan
from protocols.plan.policy import Policy as Policy
from protocols.plan.proposal import RoundPlan as RoundPlan
