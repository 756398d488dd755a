"""The inner loops of `sim.imaging`, compiled by numba.

One pass over a million scatterers a frame decides the simulator's speed, so that `splat` is one
long function, in float32 throughout. Numba cannot be told types by annotation.
"""
# ruff: noqa: C901, PLR0912, PLR0915, PLR0917
# mypy: disable-error-code="no-untyped-def, no-any-return"

import numpy as np

from sim.jit import kernel

TABLE_STEP_MM = 0.25
PHASES = 4096
_ANGLES = 2 * np.pi * np.arange(PHASES) / PHASES
_CARRIER = np.stack([np.cos(_ANGLES), -np.sin(_ANGLES)], axis=1).astype(np.float32)
_DECAYS = 2048
_DECAY_END = 8.0
_DECAY = np.exp(-np.arange(_DECAYS + 1) * _DECAY_END / _DECAYS).astype(np.float32)

f32 = np.float32
u64 = np.uint64


@kernel
def splat(points, starts, centres, half, T, geometry, beam, push, out):
    """Add every scatterer near the image plane to the complex (range, line) grid `out`.

    points, starts, centres, half: scatterers (S, 4) by cell, the cells' bounds, middles, and half
    their diagonal. T (3, 4): image from world. geometry: contact x, y, radius, half width, line
    step, range step, depth, cycles a mm of depth. beam (D, 4) by depth: reach, 1/(2 sigma^2), half
    the curvature, share of `push`. push (L,): mm that the tissue on each line is pushed deeper.
    """
    x0, y0, radius, half_width, line_step, range_step, depth, cycles = geometry
    y0 -= radius
    rows, width, lines = out.shape[0], out.shape[1], out.shape[1] // 2
    flat = out.reshape(-1)
    per_line, per_range = f32(1) / line_step, f32(1) / range_step
    per_row = f32(1.0 / TABLE_STEP_MM)
    per_decay = f32(_DECAYS / _DECAY_END)
    last = beam.shape[0] - 1
    widest = f32(0)
    for i in range(last + 1):
        widest = max(widest, beam[i, 0])
    slope = np.tan(half_width) if radius > 0 else f32(0)
    for c in range(centres.shape[0]):
        cx, cy, cz = centres[c, 0], centres[c, 1], centres[c, 2]
        z = T[2, 0] * cx + T[2, 1] * cy + T[2, 2] * cz + T[2, 3]
        if abs(z) > widest + half:
            continue
        x = T[0, 0] * cx + T[0, 1] * cy + T[0, 2] * cz + T[0, 3] - x0
        y = T[1, 0] * cx + T[1, 1] * cy + T[1, 2] * cz + T[1, 3] - y0
        if radius > 0:
            if y <= half or abs(x) > slope * y + half * f32(1.3):
                continue
            d = np.sqrt(x * x + y * y) - radius
        else:
            if abs(x) > half_width + half:
                continue
            d = y
        if d < -half - f32(4) or d > depth + half:
            continue
        low = min(max(int((d - half) * per_row), 0), last)
        high = min(max(int((d + half + f32(4)) * per_row), 0), last)
        thickest = max(beam[low, 0], beam[high, 0])
        if abs(z) > thickest + half:
            continue
        for s in range(starts[c], starts[c + 1]):
            px, py, pz = points[s, 0], points[s, 1], points[s, 2]
            z = T[2, 0] * px + T[2, 1] * py + T[2, 2] * pz + T[2, 3]
            if abs(z) > thickest:
                continue
            y = T[1, 0] * px + T[1, 1] * py + T[1, 2] * pz + T[1, 3] - y0
            x = T[0, 0] * px + T[0, 1] * py + T[0, 2] * pz + T[0, 3] - x0
            if radius > 0:
                d = np.sqrt(x * x + y * y) - radius
                u = _arctan(x / y)
            else:
                d, u = y, x
            line = (u + half_width) * per_line
            j = int(line)
            if line < f32(0) or j >= lines - 1:
                continue
            # Both between their samples: steps of a hundredth of a millimetre turn the phase.
            deep = max(d * per_row, f32(0))
            row = min(int(deep), last - 1)
            share = beam[u64(row), 3]
            share += (deep - f32(row)) * (beam[u64(row + 1), 3] - share)
            pushed = push[u64(j)]
            pushed += (line - f32(j)) * (push[u64(j + 1)] - pushed)
            d += pushed * share
            if d < f32(0) or d >= depth:
                continue
            row = int(d * per_row)
            if abs(z) > beam[u64(row), 0]:
                continue
            z2 = z * z
            path = d + z2 * beam[u64(row), 2]
            sample = path * per_range
            i = int(sample)
            if sample < f32(0) or i >= rows - 1:
                continue
            turn = path * cycles
            phase = int((turn - f32(int(turn))) * f32(PHASES))
            a = points[s, 3] * _DECAY[u64(min(int(z2 * beam[u64(row), 1] * per_decay), _DECAYS))]
            re, im = a * _CARRIER[u64(phase), 0], a * _CARRIER[u64(phase), 1]
            fi, fj = sample - f32(i), line - f32(j)
            w11 = fi * fj
            w10, w01 = fi - w11, fj - w11
            w00 = f32(1) - fi - w01
            # Unsigned indices spare the check for negative ones at each access.
            k = u64(i * width + 2 * j)
            flat[k] += w00 * re
            flat[k + u64(1)] += w00 * im
            flat[k + u64(2)] += w01 * re
            flat[k + u64(3)] += w01 * im
            k += u64(width)
            flat[k] += w10 * re
            flat[k + u64(1)] += w10 * im
            flat[k + u64(2)] += w11 * re
            flat[k + u64(3)] += w11 * im


@kernel
def _arctan(t):
    """Arc tangent to 1e-6 for |t| < 0.9 by an odd polynomial, the library's beyond."""
    q = t * t
    if q > f32(0.8):
        return np.arctan(t)
    p = f32(0.02186123) + q * f32(-0.0040540580)
    p = f32(0.09642004) + q * (f32(-0.05590986) + q * p)
    p = f32(0.19946536) + q * (f32(-0.13908534) + q * p)
    return t * (f32(0.99999934) + q * (f32(-0.33329856) + q * p))


@kernel
def convolve(raw, axial, lateral, gain):
    """Axial pulse (A,), then the lateral beam of each range (R, L), then its gain (R,)."""
    rows, width = raw.shape
    half_a, half_l = axial.shape[0] // 2, lateral.shape[1] // 2
    out = np.zeros_like(raw)
    padded = np.zeros(width + 4 * half_l, f32)
    for i in range(rows):
        padded[:] = 0
        line = padded[2 * half_l : 2 * half_l + width]
        for m in range(axial.shape[0]):
            source = i + m - half_a
            if 0 <= source < rows:
                weight = axial[m] * gain[i]
                for j in range(width):
                    line[j] += weight * raw[source, j]
        for m in range(lateral.shape[1]):
            weight = lateral[i, m]
            if weight != 0:
                for j in range(width):
                    out[i, j] += weight * padded[j + 2 * m]
    return out


@kernel
def log_compress(echoes, gain, noise, dynamic_range, white):
    """Grey levels (R, L) of 20 log10 |gain * echo + noise|; `white` dB is 255."""
    rows, lines = gain.shape
    out = np.empty((rows, lines), f32)
    scale = f32(255) / dynamic_range
    factor = f32(10 / np.log(10.0)) * scale
    offset = (dynamic_range - white) * scale
    for i in range(rows):
        for j in range(lines):
            re = gain[i, j] * echoes[i, 2 * j] + noise[i, 2 * j]
            im = gain[i, j] * echoes[i, 2 * j + 1] + noise[i, 2 * j + 1]
            grey = factor * np.log(re * re + im * im + f32(1e-12)) + offset
            out[i, j] = min(max(grey, f32(0)), f32(255))
    return out


@kernel
def smooth_speckle(grey, strength):
    """Blend each sample with the mean of its 3 x 3 neighbours, as speckle reduction does."""
    rows, lines = grey.shape
    out = grey.copy()
    share = strength / f32(9)
    for i in range(1, rows - 1):
        for j in range(1, lines - 1):
            total = f32(0)
            for m in range(i - 1, i + 2):
                total += grey[m, j - 1] + grey[m, j] + grey[m, j + 1]
            out[i, j] = (f32(1) - strength) * grey[i, j] + share * total
    return out


@kernel
def interpolate(lines, width, index, weight, pixels):
    """Bilinear samples of flat `lines` at upper left `index` (P,) and fractions `weight` (P, 2)."""
    for p in range(index.shape[0]):
        i = index[p]
        if i >= 0:
            f, g = weight[p, 0], weight[p, 1]
            top = lines[i] + g * (lines[i + 1] - lines[i])
            bottom = lines[i + width] + g * (lines[i + width + 1] - lines[i + width])
            pixels[p] = np.uint8(top + f * (bottom - top) + f32(0.5))


@kernel
def enlarge(small, rows, lines, range_step, line_step):
    """Bilinear enlargement of (r, l) by whole steps to (rows, lines)."""
    out = np.empty((rows, lines), f32)
    last_r, last_l = small.shape[0] - 2, small.shape[1] - 2
    for i in range(rows):
        r = min(i // range_step, last_r)
        f = min(f32(i) / f32(range_step) - f32(r), f32(1))
        for j in range(lines):
            c = min(j // line_step, last_l)
            g = min(f32(j) / f32(line_step) - f32(c), f32(1))
            top = small[r, c] + g * (small[r, c + 1] - small[r, c])
            bottom = small[r + 1, c] + g * (small[r + 1, c + 1] - small[r + 1, c])
            out[i, j] = top + f * (bottom - top)
    return out


@kernel
def mark_cells(seen, low, cell, T, geometry, reach):
    """Set the cells of `seen` that come within `reach` mm of the view of any pose T (N, 3, 4)."""
    x0, y0, radius, half_width, _, _, depth, _ = geometry
    y0 -= radius
    slope = np.tan(half_width)
    for n in range(T.shape[0]):
        for i in range(seen.shape[0]):
            x = f32((low[0] + i + 0.5) * cell)
            for j in range(seen.shape[1]):
                y = f32((low[1] + j + 0.5) * cell)
                base = T[n, 2, 0] * x + T[n, 2, 1] * y + T[n, 2, 3]
                for k in range(seen.shape[2]):
                    z = f32((low[2] + k + 0.5) * cell)
                    if seen[i, j, k] or abs(base + T[n, 2, 2] * z) > reach:
                        continue
                    u = T[n, 0, 0] * x + T[n, 0, 1] * y + T[n, 0, 2] * z + T[n, 0, 3] - x0
                    v = T[n, 1, 0] * x + T[n, 1, 1] * y + T[n, 1, 2] * z + T[n, 1, 3] - y0
                    limit = half_width
                    if radius > 0:
                        limit = slope * v
                        v = np.sqrt(u * u + v * v) - radius
                    if abs(u) < limit + 2 * cell and -4 - cell < v < depth + cell:
                        seen[i, j, k] = True
