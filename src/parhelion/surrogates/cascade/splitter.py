"""How the energy of a block is divided among its four parts."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, silu

from parhelion.surrogates.cascade.pyramid import Phase

# Which of the four parts have energy: all but the empty pattern.
PATTERNS = torch.tensor([[p >> b & 1 for b in range(4)] for p in range(1, 16)], dtype=torch.bool)
_IMPOSSIBLE = -1e4
LOG_SCALE = (-5.0, 2.5)
# Numbers of noise for each block, and slots of them for a phase where there are that many blocks.
NUMBERS = 4
LEAST_SLOTS = 16
_BELOW_1 = 1.0 - 2.0**-24
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class At(NamedTuple):
    """Blocks with energy, m of them.

    Attributes
    ----------
    row, block
        Row and number of the block in it, shape (m,).
    """

    row: Tensor
    block: Tensor


class Mixture(nn.Module):
    """Mixture of normal distributions of d numbers with triangular dependence, from features (m, width).

    In component k, y_i = mu_i + s_i z_i + sum_{j < i} a_ij z_j with z standard normal.
    """

    sources: Tensor
    targets: Tensor

    def __init__(self, width: int, numbers: int, components: int) -> None:
        super().__init__()
        self.numbers, self.components = numbers, components
        self.pairs = [(i, j) for i in range(numbers) for j in range(i)]
        self.each = 1 + 2 * numbers + len(self.pairs)
        self.register_buffer("sources", torch.tensor([j for _, j in self.pairs], dtype=torch.long), persistent=False)
        targets = torch.tensor([[float(i == k) for k in range(numbers)] for i, _ in self.pairs])
        self.register_buffer("targets", targets, persistent=False)
        self.out = nn.Linear(width, components * self.each)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)
        with torch.no_grad():
            # Components start apart, or they would stay alike.
            start = self.out.bias.view(components, self.each)
            start[:, 1 : 1 + numbers] = torch.linspace(-1.5, 1.5, components)[:, None]

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        d = self.numbers
        out = self.out(features).view(-1, self.components, self.each)
        return out[..., 0], out[..., 1 : 1 + d], out[..., 1 + d : 1 + 2 * d].clamp(*LOG_SCALE), out[..., 1 + 2 * d :]

    def log_prob(self, features: Tensor, y: Tensor, active: Tensor) -> Tensor:
        """Log density, shape (m,), of the active ones of the numbers y (m, d); bool `active` (m, d)."""
        logit, mean, log_scale, slope = self._split(features)
        score = log_softmax(logit, dim=1)
        z: list[Tensor] = []
        for i in range(self.numbers):
            shift = mean[..., i]
            for pair, (a, b) in enumerate(self.pairs):
                if a == i:
                    shift = shift + slope[..., pair] * z[b]
            on = active[:, i, None].to(y.dtype)
            z.append((y[:, i, None] - shift) * torch.exp(-log_scale[..., i]) * on)
            score = score - 0.5 * z[i] ** 2 - on * (log_scale[..., i] + _HALF_LOG_2PI)
        return torch.logsumexp(score, dim=1)

    def draw(self, features: Tensor, at: Tensor, z: Tensor) -> Tensor:
        """Numbers (m, d) from a uniform number (m,), which chooses the component, and normal z (m, d).

        z is 0 for numbers that are not active: the others do not depend on it then.
        """
        d, each = self.numbers, self.each
        out = self.out(features)
        first = out.view(-1, self.components, each)[..., 0]
        cumulative = torch.cumsum(torch.exp(first - first.amax(dim=1, keepdim=True)), dim=1)
        chosen = (at[:, None] * cumulative[:, -1:] >= cumulative[:, :-1]).sum(dim=1)
        start = torch.arange(0, z.shape[0] * self.components, self.components, device=z.device)
        own = out.view(-1, each).index_select(0, start + chosen)
        y: Tensor = own[:, 1 : 1 + d] + torch.exp(own[:, 1 + d : 1 + 2 * d].clamp(*LOG_SCALE)) * z
        if self.pairs:
            y = torch.addmm(y, own[:, 1 + 2 * d :] * z.index_select(1, self.sources), self.targets)
        return y


def uniform(z: Tensor) -> Tensor:
    """Uniform numbers in [0, 1) from standard normal ones, by a function that graphs of other programs have too.

    Never 1: the sum of probabilities would be reached, and the last category chosen even where it is impossible.
    """
    return (0.5 + 0.5 * torch.erf(z * math.sqrt(0.5))).clamp(max=_BELOW_1)


def choose(logit: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Category of each row, shape (m,), by a uniform number; and what is left of it, again uniform, shape (m,).

    `logit` has shape (k, m), which is faster than (m, k): logarithms of probabilities up to a constant.
    """
    probability = torch.exp(logit - logit.amax(dim=0, keepdim=True))
    cumulative = torch.cumsum(probability, dim=0)
    u = at * cumulative[-1:]
    index = (u >= cumulative[:-1]).sum(dim=0, keepdim=True)
    size = probability.gather(0, index)
    low = cumulative.gather(0, index) - size
    return index[0], ((u - low) / size.clamp(min=1e-12)).clamp(0.0, 1.0)[0]


class Splitter(nn.Module):
    """Divides the energies of the blocks of one phase.

    First which parts have energy (one of 15 patterns; a part has at least the threshold or nothing), then the shares
    of what the block has above its parts' thresholds: of the first two parts against the other two, and in each pair.

    Energies of a level's map and of the next finer one lie side by side in one row for each shower, "both".

    Parameters
    ----------
    phase
        The blocks, B of them.
    width
        Of the hidden layers.
    components
        Of the mixture of shares.
    threshold
        Least energy of a part.
    """

    see: Tensor
    own: Tensor
    parts: Tensor
    table: Tensor
    allowed: Tensor
    relative: Tensor
    roles: Tensor
    places: Tensor | None

    def __init__(self, phase: Phase, *, width: int, components: int, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.slack = 0.5 * threshold
        self.single = phase.central and len(phase) == 1
        self.width = width
        blocks = len(phase)
        # Few of many blocks have energy, so they share numbers (see `_numbers`).
        self.slots = max(-(-blocks // NUMBERS), min(blocks, LEAST_SLOTS))
        self.register_buffer("see", phase.see, persistent=False)
        self.register_buffer("own", phase.see[:, 0].contiguous(), persistent=False)
        self.register_buffer("parts", phase.parts, persistent=False)
        roles = (torch.arange(NUMBERS)[:, None] + torch.arange(NUMBERS)) % NUMBERS
        self.register_buffer("roles", roles, persistent=False)
        self.near = nn.Linear(phase.see.shape[1], width)
        self.register_buffer("places", phase.places, persistent=False)
        count = blocks if phase.places is None else int(phase.places.max()) + 1
        self.place = nn.Parameter(0.1 * torch.randn(count, width))
        # The many blocks with little energy do with a layer less.
        self.inner = nn.Linear(width, width) if phase.central or phase.ring else None
        self.heads = nn.Linear(width, len(PATTERNS) + width)
        self.embed = nn.Parameter(0.1 * torch.randn(len(PATTERNS), width))
        self.mixture = Mixture(width, 3, components)
        opened = self._open(PATTERNS)
        lead = torch.stack([PATTERNS[:, :2].any(dim=1), PATTERNS[:, 0], PATTERNS[:, 2]], dim=1) & ~opened
        columns = [PATTERNS, opened, lead, self.slack * opened, PATTERNS.sum(dim=1, keepdim=True)]
        self.register_buffer("table", torch.cat([c.float() for c in columns], dim=1), persistent=False)
        relative = torch.full((phase.see.shape[1],), -1.0)
        relative[0] = 0.0
        self.register_buffer("relative", relative, persistent=False)
        # Impossible are patterns with energy off the grid, and those whose parts need more than the energy in units of
        # the threshold, 0 to 4 or more; one part is possible whatever rounding did to the energy.
        outside = (PATTERNS[None] & ~phase.inside[:, None]).any(dim=2)
        short = PATTERNS.sum(dim=1) > torch.arange(5).clamp(min=1)[:, None]
        allowed = torch.where(outside[:, None] | short, _IMPOSSIBLE, 0.0).reshape(5 * blocks, -1).t().contiguous()
        self.register_buffer("allowed", allowed, persistent=False)

    @property
    def noise_features(self) -> int:
        """Numbers of noise that `draw` takes."""
        return NUMBERS * self.slots

    def find(self, both: Tensor) -> At:
        """The blocks with energy, m of them, given maps (n, both)."""
        energy = both.index_select(1, self.own)
        active = torch.nonzero(energy.reshape(-1))[:, 0]
        row = torch.div(active, len(self.see), rounding_mode="floor")
        return At(row, active - row * len(self.see))

    def _hidden(self, energy: Tensor, context: Tensor, place: Tensor) -> Tensor:
        """Features (m, width) of blocks that see the energies (m, S), with what their showers and places give."""
        view = scaled(energy, self.threshold)
        near = self.near(torch.addcmul(view, view[:, :1], self.relative))
        h = _silu(_plus(_plus(near, context), place))
        return h if self.inner is None else _plus(_silu(self.inner(h)), h)

    def _place(self, block: Tensor) -> Tensor:
        """What the places of blocks (m,) give, shape (m, width)."""
        return self.place.index_select(0, block if self.places is None else self.places.index_select(0, block))

    def _allowed(self, energy: Tensor, block: Tensor | None) -> Tensor:
        """What is added to logits, (15, m), of blocks with energies (m,), of the only block if `block` is None."""
        # Far outside the domain an energy may be no number; its step must stand in the table all the same.
        step = (energy * ((1 + 1e-6) / self.threshold)).clamp(max=4.0).long().clamp_(min=0)
        return self.allowed.index_select(1, step if block is None else step + 5 * block)

    def _features(self, second: Tensor, pattern: Tensor) -> Tensor:
        return _silu(_plus(second, self.embed.index_select(0, pattern)))

    def log_prob(self, both: Tensor, context: Tensor, at: At) -> Tensor:
        """Log density, shape (m,), of how blocks are divided.

        Parameters
        ----------
        both
            Maps, shape (n, both).
        context
            What all blocks of a shower are told, shape (n, width).
        at
            The blocks, from `find`.
        """
        energy = _entries(both, self.see, at)
        h = self._hidden(energy, context.index_select(0, at.row), self._place(at.block))
        parts = _entries(both, self.parts, at)
        hit = parts > 0
        pattern = (hit * torch.tensor([1, 2, 4, 8], device=parts.device)).sum(dim=1) - 1
        logits, second = torch.split(self.heads(h), [len(PATTERNS), self.width], dim=1)
        logits = logits + self._allowed(energy[:, 0], at.block).t()
        score = log_softmax(logits, dim=1).gather(1, pattern[:, None])[:, 0]
        excess = (parts - self.threshold * hit).clamp(min=0.0) + self.slack
        left, right = excess[:, 0] + excess[:, 1] - self.slack, excess[:, 2] + excess[:, 3] - self.slack
        ratio = torch.stack([left / right, excess[:, 0] / excess[:, 1], excess[:, 2] / excess[:, 3]], dim=1)
        return score + self.mixture.log_prob(self._features(second, pattern), torch.log(ratio), self._open(hit))

    @staticmethod
    def _open(hit: Tensor) -> Tensor:
        """Which of the three shares are free, shape (m, 3)."""
        first, second = hit[:, 0] | hit[:, 1], hit[:, 2] | hit[:, 3]
        return torch.stack([first & second, hit[:, 0] & hit[:, 1], hit[:, 2] & hit[:, 3]], dim=1)

    def _numbers(self, noise: Tensor, start: int, at: At) -> Tensor:
        """Four numbers of noise (m, 4) for each block.

        The blocks of a shower with energy take the slots in order. Where there are more blocks than slots the next
        ones take them again, with the numbers' roles moved on by one, so that no number serves twice in one role.
        """
        order = torch.arange(at.row.shape[0], device=noise.device)
        count = torch.zeros(noise.shape[0], dtype=torch.long, device=noise.device)
        count = count.scatter_add(0, at.row, torch.ones_like(at.row))
        before = torch.cumsum(count, dim=0) - count
        rank = order - before.index_select(0, at.row)
        turn = torch.div(rank, self.slots, rounding_mode="floor")
        slot = at.row * noise.shape[1] + start + NUMBERS * (rank - turn * self.slots)
        index = slot[:, None] + self.roles.index_select(0, turn)
        return noise.reshape(-1).index_select(0, index.reshape(-1)).view(-1, NUMBERS)

    def draw(self, both: Tensor, context: Tensor, noise: Tensor, start: int) -> Tensor:
        """The same maps (n, both) with the blocks' parts filled in.

        Parameters
        ----------
        both
            Maps, shape (n, both); what lies at the blocks' parts is 0.
        context
            What all blocks of a shower are told, shape (n, width).
        noise
            Standard normal, shape (n, noise); those of this phase begin at column `start`.
        start
            That column.
        """
        if self.single:
            energy = both.index_select(1, self.see[0])
            h = self._hidden(energy, context, self.place)
            allowed = self._allowed(energy[:, 0], None)
            parts = self._divide(h, energy[:, 0], allowed, noise[:, start : start + NUMBERS])
            parts = torch.where(energy[:, :1] > 0, parts, 0.0)
            return both.scatter_(1, self.parts.expand(both.shape[0], -1), parts)
        at = self.find(both)
        energy = _entries(both, self.see, at)
        h = self._hidden(energy, context.index_select(0, at.row), self._place(at.block))
        allowed = self._allowed(energy[:, 0], at.block)
        parts = self._divide(h, energy[:, 0], allowed, self._numbers(noise, start, at)).reshape(-1)
        return both.view(-1).scatter_(0, _flat(both, self.parts, at), parts).view_as(both)

    def _divide(self, h: Tensor, energy: Tensor, allowed: Tensor, noise: Tensor) -> Tensor:
        """Parts (m, 4) of energies (m,) given features h (m, width) and noise (m, 4)."""
        k, weight, bias = len(PATTERNS), self.heads.weight, self.heads.bias
        logits = torch.addmm(bias[:k, None], weight[:k], h.t())
        pattern, rest = choose(_plus(logits, allowed), uniform(noise[:, 0]))
        known = self.table.index_select(0, pattern)
        hit, free, lead, slack, count = torch.split(known, [4, 3, 3, 3, 1], dim=1)
        features = self._features(torch.nn.functional.linear(h, weight[k:], bias[k:]), pattern)
        share = torch.sigmoid(self.mixture.draw(features, rest, noise[:, 1:] * free))
        # Free shares take their part of the energy; the others all of it or nothing.
        a = torch.addcmul(lead, share, free)
        above = (energy[:, None] - self.threshold * count).clamp(min=0.0)
        left = _part(a[:, :1], above, slack[:, :1])
        pair = torch.cat([left, above - left], dim=1)
        first = _part(a[:, 1:], pair, slack[:, 1:])
        excess = torch.stack([first, pair - first], dim=2).view(-1, 4)
        parts: Tensor = (excess + self.threshold) * hit
        return parts


def _part(share: Tensor, whole: Tensor, slack: Tensor) -> Tensor:
    """Share of a whole that reaches beyond it by the slack on both sides, folded back so that none piles up there."""
    part = share * (whole + 2 * slack) - slack
    return (whole - (whole - part.abs()).abs()).clamp(min=0.0)


def _plus(a: Tensor, b: Tensor) -> Tensor:
    """Sum, in the place of `a` where no gradient needs it."""
    return a + b if a.requires_grad else a.add_(b)


def _silu(x: Tensor) -> Tensor:
    return silu(x, inplace=not x.requires_grad)


def scaled(energy: Tensor, threshold: float) -> Tensor:
    """Energies as networks see them: 0 where there is none, logarithmic above threshold."""
    return (energy * (1 / threshold)).log1p_().mul_(0.3)


def _flat(both: Tensor, places: Tensor, at: At) -> Tensor:
    return ((at.row * both.shape[1])[:, None] + places.index_select(0, at.block)).reshape(-1)


def _entries(both: Tensor, places: Tensor, at: At) -> Tensor:
    """Entries (m, p) of maps (n, both) at the places (B, p) of blocks."""
    return both.reshape(-1).index_select(0, _flat(both, places, at)).view(-1, places.shape[1])
