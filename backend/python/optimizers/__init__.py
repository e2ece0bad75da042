"""Optimizers and learning rate schedules."""

from .adam import Adam as Adam
from .adam import Adamax as Adamax
from .adam import AdamW as AdamW
from .adaptive import AdaDelta as AdaDelta
from .adaptive import Adafactor as Adafactor
from .adaptive import Adagrad as Adagrad
from .adaptive import RMSprop as RMSprop
from .base import Optimizer as Optimizer
from .base import clip_grad_norm as clip_grad_norm
from .multi import MultiOptimizer as MultiOptimizer
from .schedulers import cosine_decay as cosine_decay
from .schedulers import exponential_decay as exponential_decay
from .schedulers import join_schedules as join_schedules
from .schedulers import linear_schedule as linear_schedule
from .schedulers import step_decay as step_decay
from .sgd import SGD as SGD
from .sgd import Lion as Lion
from .sgd import Muon as Muon
