# The source of 00_first_look.ipynb: `python tests/tools/notebooks.py` builds and executes it.

# %% [markdown]
# # A first look at lamina
#
# We train a small convolutional network to read handwritten digits, and look into the training
# while it runs: what was computed, what was fused, who holds the memory, where the time goes.
# It takes about a minute, most of it reading.
#
# `lamina.core`, `lamina.nn` and `lamina.optimizers` follow the names of MLX, so what you know of
# `mlx.core` holds here.

# %%
import lamina.core as mx
import lamina.nn as nn
import lamina.optimizers as optim
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

# %load_ext lamina

# %% [markdown]
# ## What is in an array before it is computed?
#
# An expression. Building one costs a few microseconds, however large the array; the work is done
# when somebody asks for the values. Until then an array knows its shape, its type and the graph
# behind it.

# %%
a = mx.array([[1.0, 2.0], [3.0, 4.0]])
b = mx.tanh(a) * 0.5 + a
b

# %% [markdown]
# `mx.eval` computes it, and so does anything that needs the values, such as `print`. The three
# operations run as one kernel: what lies between them never reaches memory.

# %%
mx.eval(b)
b

# %% [markdown]
# ## What do we train on?
#
# Scikit-learn brings 1797 handwritten digits of 8 by 8 pixels. A quarter is held out: the network
# never sees it while it learns. Images are channels last: `(N, H, W, C)`.

# %%
digits = load_digits()
train_x, test_x, train_y, test_y = train_test_split(
    digits.images.astype(np.float32)[..., None] / 16,
    digits.target,
    test_size=0.25,
    stratify=digits.target,
    random_state=0,
)
train_x, test_x = mx.array(train_x), mx.array(test_x)
train_y, test_y = mx.array(train_y), mx.array(test_y)

figure, axes = plt.subplots(1, 10, figsize=(8, 1.1))
for axis, image, label in zip(axes, digits.images, digits.target, strict=False):
    axis.imshow(image, cmap="gray_r")
    axis.set_title(label, fontsize=9)
    axis.axis("off")
plt.show()


# %% [markdown]
# ## What do we train?
#
# Two convolutions, each normalised over the batch, a pooling, and a linear layer that gives one
# score per digit.


# %%
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.norm1 = nn.BatchNorm(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.norm2 = nn.BatchNorm(32)
        self.pool = nn.MaxPool2d(2)
        self.classify = nn.Linear(4 * 4 * 32, 10)

    def __call__(self, x):
        x = nn.relu(self.norm1(self.conv1(x)))
        x = self.pool(nn.relu(self.norm2(self.conv2(x))))
        return self.classify(x.flatten(1))


def loss_of(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


mx.random.seed(0)
model = Net()
optimizer = optim.AdamW(learning_rate=2e-3)
loss_and_grad = nn.value_and_grad(model, loss_of)


def training_step(x, y):
    loss, grads = loss_and_grad(model, x, y)
    optimizer.update(model, grads)
    mx.eval(loss, model.state, optimizer.state)
    return loss


# %% [markdown]
# `training_step` builds one graph: the forward pass, the backward pass and the update of every
# parameter. `mx.eval` then schedules that graph as a whole.
#
# ## What happens while it trains?
#
# Put `%%mlx_profile` above the loop. The view below appears when the cell starts and follows it:
# watch the curve of live memory and the kernels come in. `-o training` keeps the recording.

# %%
# %%mlx_profile -o training
shuffle = np.random.default_rng(0)
losses = []
for _ in range(20):
    order = shuffle.permutation(len(train_x))
    batches = [mx.array(order[i : i + 64]) for i in range(0, len(order), 64)]
    steps = [training_step(train_x[batch], train_y[batch]) for batch in batches]
    losses.append(np.mean([loss.item() for loss in steps]))

# %% [markdown]
# Did the scheduler work anew in each step? No. The first step is planned (a *miss*), the following
# ones find that plan (a *hit*). The last batch of an epoch has three images instead of 64: the plan
# with other sizes in it (a *polymorphic hit*).

# %%
from lamina.workbench import analysis

analysis.timeline(training).outcomes

# %% [markdown]
# ## How well does it read?

# %%
model.eval()
guesses = mx.argmax(model(test_x), axis=1)
accuracy = (guesses == test_y).mean().item()
model.train()
print(f"mean loss of an epoch: {losses[0]:.2f} at first, {losses[-1]:.3f} at last")
print(f"{accuracy:.1%} of {len(test_y)} held-out digits read correctly")

# %% [markdown]
# ## What is one training step made of?
#
# One step, profiled alone. `-n 20` repeats it twenty times after a warm-up, so that the times
# mean something. In the **Graph** tab, boxes are modules: open one to see its operations. Switch
# to *by kernel* and the same operations are grouped by what runs as one kernel. Click a box to see
# its program, its bytes and the line of this notebook that asked for it.

# %%
x, y = train_x[:64], train_y[:64]
mx.eval(x, y)

# %%
# %%mlx_profile -o step -n 20
loss = training_step(x, y)

# %% [markdown]
# What did fusion gain? Three sums of bytes: every operation for itself, as it ran, and the least
# that any schedule could move, where inputs are read once and outputs written once.

# %%
print(analysis.traffic(step).to_text(limit=4))

# %% [markdown]
# ## Why was this edge not fused, and what did it cost?
#
# An edge is a value on its way from one operation to another. If both are in one kernel, the value
# never reaches memory. If not, there is exactly one reason, with its price: the bytes written and
# read again. In the graph such edges are drawn with a mark; click one to read this sentence.

# %%
fusion = analysis.fusion(step)
for reason in fusion.reasons:
    cost = sum(edge.bytes for edge in fusion.unfused if edge.reason == reason.reason)
    print(f"{reason.edges:3d} edges, {cost / 1000:6.0f} kB a step: {reason.sentence}")

# %% [markdown]
# The dearest edge of this step, with the module and the line it comes from:

# %%
edge = fusion.unfused[0]
print(analysis.explain(step, edge.plan, edge.src, edge.dst))
print(f"{edge.module or 'no module'}, {edge.where}")

# %% [markdown]
# ## When is memory fullest, and who holds it?
#
# The **Memory** tab shows live bytes over time by kind: parameters, gradients, optimizer state,
# activations. The same as text, largest first; the parts add up to the peak.

# %%
memory = analysis.memory(step)
print(memory.to_text(limit=8))

# %% [markdown]
# The plan knew this before the step ran: how far off was its prediction?

# %%
peak = memory.peak
print(f"predicted {peak.predicted:,} bytes, measured {peak.bytes:,} bytes")

# %% [markdown]
# ## Where does the time go?
#
# The **Latency** tab has the timeline and a table of kernels. Is the time spent in kernels at all,
# or in Python between them? And of the kernels, which?

# %%
print(analysis.timeline(step))
print()
print(analysis.kernels(step).to_text(limit=6))

# %% [markdown]
# A kernel cannot be faster than memory delivers its bytes, nor than the processor computes its
# operations. Both ceilings were measured on the machine that ran this notebook.

# %%
print(analysis.roofline(step).to_text(6))

# %% [markdown]
# ## How do I keep a recording?
#
# In one file. It opens where NumPy is, without the engine, and it is the same recording: the graph,
# every decision, every time.

# %%
from lamina.workbench import Recording

step.save("training_step.lamina")
loaded = Recording.load("training_step.lamina")
loaded

# %%
assert analysis.traffic(loaded) == analysis.traffic(step)
assert not analysis.fusion(loaded).unexplained
assert analysis.memory(loaded).peak.bytes == peak.bytes

# %% [markdown]
# Such lines can stand in your own tests: a change that doubles the traffic of a step or defeats the
# plan cache is then found when it is made. Displaying a recording shows its views again; try
# `loaded` with the memory view alone:

# %%
from lamina.widgets import MemoryView

MemoryView(loaded)

# %% [markdown]
# ## Where next?
#
# - Change the network above, profile the step again, and compare the two ledgers.
# - `%mlx_profile -n 20 -r 5 model(test_x)` profiles one expression.
# - `docs/profiling.md` lists every option and says what each figure means.
# - `docs/operations.md` lists the operations, `docs/differences.md` what differs from MLX.
