"""The inner loops of `sim.tissue`, compiled by numba: what lies at a place of the limb."""
# ruff: noqa: C901, PLR0911, PLR0917
# mypy: disable-error-code="no-untyped-def, no-any-return"

import numpy as np

from sim.jit import kernel

NOISE_SIZE = 64
CELL_MM = 2.0
BONE, VESSEL, SOLID = 0, 1, 2
FAR = 99.0
VESSEL_GAIN_DB_MM = -0.04  # blood attenuates less than muscle: enhancement behind it


@kernel
def noise_at(noise, x, y, z):
    """Trilinear sample of the periodic field at (x, y, z) samples."""
    fx, fy, fz = np.floor(x), np.floor(y), np.floor(z)
    u, v, w = x - fx, y - fy, z - fz
    n = NOISE_SIZE - 1
    i, j, k = int(fx) & n, int(fy) & n, int(fz) & n
    a, b, c = (i + 1) & n, (j + 1) & n, (k + 1) & n
    low = (noise[i, j, k] * (1 - w) + noise[i, j, c] * w) * (1 - v) + (
        noise[i, b, k] * (1 - w) + noise[i, b, c] * w
    ) * v
    high = (noise[a, j, k] * (1 - w) + noise[a, j, c] * w) * (1 - v) + (
        noise[a, b, k] * (1 - w) + noise[a, b, c] * w
    ) * v
    return low * (1 - u) + high * u


@kernel
def skin_depth(layers, x, y, z):
    """Depth below the skin, mm; negative outside the limb."""
    return z - 0.5 * (layers.across * y * y + layers.along * x * x)


@kernel
def tube_at(tissue, tube, x, y, z):
    """(distance outside the wall of a tube in mm, y and z of the wall point beside this one)."""
    tubes = tissue.tubes
    position = min(max(x - tissue.x_start, 0.0), tubes.shape[1] - 1.001)
    i = int(position)
    f = position - i
    width_y = tubes[tube, i, 2] * (1 - f) + tubes[tube, i + 1, 2] * f
    width_z = tubes[tube, i, 3] * (1 - f) + tubes[tube, i + 1, 3] * f
    if min(width_y, width_z) < 0.1:
        return FAR, y, z
    dy = y - tubes[tube, i, 0] * (1 - f) - tubes[tube, i + 1, 0] * f
    dz = z - tubes[tube, i, 1] * (1 - f) - tubes[tube, i + 1, 1] * f
    scaled = np.sqrt((dy / width_y) ** 2 + (dz / width_z) ** 2) + 1e-6
    if tissue.lobes[tube, 0] > 0:
        angle = np.arctan2(dz / width_z, dy / width_y)
        scaled /= 1 + tissue.lobes[tube, 0] * np.cos(3 * angle - tissue.lobes[tube, 1])
    to_wall = 1 / scaled - 1
    return (scaled - 1) * min(width_y, width_z), y + dy * to_wall, z + dz * to_wall


@kernel
def _tube_index(tubes, x_start, x):
    return int(min(max(x - x_start, 0.0), tubes.shape[1] - 1.001))


@kernel
def _is_far(tubes, tube, i, y, z):
    """Whether (y, z) is more than a few mm from a tube: spares most calls of `tube_at`."""
    near = 1.4 * max(tubes[tube, i, 2], tubes[tube, i, 3]) + 3
    return abs(y - tubes[tube, i, 0]) > near or abs(z - tubes[tube, i, 1]) > near


@kernel
def _sheet(value, thickness):
    """1 where a random field crosses zero, falling to 0 over `thickness` of its spread."""
    return np.exp(-((value / thickness) ** 2))


@kernel
def _facing(noise, value, u, v, w):
    """How much a sheet of `noise` faces the skin, 0-1: interfaces mirror sound."""
    across = (noise_at(noise, u, v + 0.3, w) - value) / 3
    inwards = noise_at(noise, u, v, w + 0.3) - value
    cosine2 = inwards * inwards / (inwards * inwards + across * across + 1e-9)
    return cosine2 * cosine2


@kernel
def _mottle(tissue, x, y, z):
    """Log-normal echogenicity over three scales, about 9, 3 and 1 mm."""
    noise = tissue.noise
    coarse = noise_at(noise, x / 12 + 7, y / 6 + 11, z / 6 + 3)
    middle = noise_at(noise, x / 4 + 31, y / 2 + 5, z / 2 + 17)
    fine = noise_at(noise, x / 1.3, y / 0.8, z / 0.8)
    return np.exp(tissue.texture.spread * (coarse + 0.7 * middle + 0.5 * fine))


@kernel
def _muscle(tissue, x, y, z):
    """Fascicles within muscle and the septa between muscles, over the mottle of 1."""
    noise, t = tissue.noise, tissue.texture
    slanted = z + t.pennation * x
    mm = t.fascicle_mm / 3
    u, v, w = x / (12 * mm) + 3, y / (3 * mm) + 19, slanted / mm + 37
    fascicle = noise_at(noise, u, v, w)
    wide = t.septum_mm / 3
    septum = noise_at(noise, x / (6 * wide) + 50, y / (1.5 * wide) + 8, z / wide + 21)
    lines = t.fascicle_gain * _sheet(fascicle, 0.25) * _facing(noise, fascicle, u, v, w)
    return (t.level + lines) * (1 + t.septum_gain * _sheet(septum, 0.05))


@kernel
def scatterer_at(tissue, x, y, z):
    """(amplitude, y, z) of a scatterer drawn at a place.

    The amplitude is the RMS echo, 1 in homogeneous tissue. A scatterer in a thin interface is
    moved onto it, where all add up in phase: its amplitude is then negative by convention.
    """
    layers = tissue.layers
    depth = skin_depth(layers, x, y, z)
    far = layers.thickness - depth - 0.9 * layers.across * y * y
    if depth < 0 or far < 0:
        return 0.0, y, z
    inside, nearest = -1, 0.35  # a vessel's wall is 0.35 mm thick
    i = _tube_index(tissue.tubes, tissue.x_start, x)
    for tube in range(tissue.kinds.shape[0]):
        if _is_far(tissue.tubes, tube, i, y, z):
            continue
        distance, wall_y, wall_z = tube_at(tissue, tube, x, y, z)
        if tissue.kinds[tube] == BONE:
            if abs(distance) < 0.25 and wall_z < tissue.tubes[tube, i, 1] + 1:
                return -tissue.texture.bone_gain, wall_y, wall_z
            if distance < 0:
                # What is seen there are echoes that went to and fro above the bone.
                return tissue.texture.bone_haze, y, z
        elif distance < nearest:
            inside, nearest = tissue.kinds[tube], distance
    value = _mottle(tissue, x, y, z)
    if depth < layers.skin or far < layers.skin:
        return 3.0 * value, y, z
    if inside == VESSEL:
        return 0.03 if nearest < -0.15 else 2.5, y, z
    if inside == SOLID and nearest < 0:
        fibre = noise_at(tissue.noise, x / 20 + 5, y / 0.25 + 9, z / 0.25 + 31)
        return tissue.texture.solid_gain * value * np.exp(0.5 * fibre), y, z
    fat_end = layers.skin + layers.fat
    fat_end += 0.15 * layers.fat * noise_at(tissue.noise, x / 15 + 40, y / 8 + 2, 9.0)
    if depth < fat_end:
        septum = noise_at(tissue.noise, x / 9 + 13, y / 5 + 23, z / 1.5 + 29)
        return 0.5 * value * (1 + 5 * _sheet(septum, 0.1)), y, z
    if layers.fat > 0 and depth < fat_end + 0.4:
        return -tissue.texture.fascia_gain * value, y, z - (depth - fat_end)
    return value * _muscle(tissue, x, y, z), y, z


@kernel
def _hash(value):
    """SplitMix64's mixing of 64 bits (Steele, Lea and Flood, OOPSLA 2014)."""
    value = np.uint64(value)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def _cell_key(seed, i, j, k):
    bits = np.uint64(i + 4096) | (np.uint64(j + 4096) << np.uint64(16))
    return _hash(np.uint64(seed) + _hash(bits | (np.uint64(k + 4096) << np.uint64(32))))


@kernel
def fill_cells(tissue, cells, seed, strata, points, counts):
    """Draw the scatterers of cells (C, 3), one in each of strata^3 cubes; returns their number.

    Those of a strand share their y, z and sign with the ones before and behind them.
    """
    step = CELL_MM / strata
    to_unit = 1.0 / 2097152.0  # 21 bits
    mask = np.uint64(2097151)
    share = np.uint64(tissue.texture.fibre_share / to_unit)
    strand_cells = max(1.0, tissue.texture.fibre_mm / CELL_MM)
    total = 0
    for c in range(cells.shape[0]):
        i, j, k = cells[c, 0], cells[c, 1], cells[c, 2]
        key = _cell_key(seed, i, j, k)
        strand = _cell_key(seed + 1, int(np.floor(i / strand_cells)), j, k)
        first = total
        for s in range(strata**3):
            key += np.uint64(0x9E3779B97F4A7C15)
            bits = _hash(key)
            x_bits = bits & mask
            shared = _hash(strand + np.uint64(s % (strata * strata)))
            if _hash(shared) & mask < share:
                bits = shared
            v, w = (bits >> np.uint64(21)) & mask, (bits >> np.uint64(42)) & mask
            x = i * CELL_MM + (s // (strata * strata) + x_bits * to_unit) * step
            y = j * CELL_MM + (s // strata % strata + v * to_unit) * step
            z = k * CELL_MM + (s % strata + w * to_unit) * step
            amplitude, y, z = scatterer_at(tissue, x, y, z)
            if amplitude != 0.0:
                points[total, 0], points[total, 1], points[total, 2] = x, y, z
                odd = (bits >> np.uint64(63)) != 0
                points[total, 3] = amplitude if odd and amplitude > 0 else -amplitude
                total += 1
        counts[c] = total - first
    return total


@kernel
def losses(tissue, points, out):
    """Fill out (R, L) with one-way attenuation over the nominal tissue, dB/mm, at (R, L, 4)."""
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            x, y, z = points[i, j, 0], points[i, j, 1], points[i, j, 2]
            out[i, j] = 0.0
            section = _tube_index(tissue.tubes, tissue.x_start, x)
            for tube in range(tissue.kinds.shape[0]):
                if _is_far(tissue.tubes, tube, section, y, z):
                    continue
                kind = tissue.kinds[tube]
                if kind == BONE:
                    if tube_at(tissue, tube, x, y, z)[0] < -0.3:
                        out[i, j] = tissue.texture.bone_loss
                elif kind == VESSEL and tube_at(tissue, tube, x, y, z)[0] < 0:
                    out[i, j] = VESSEL_GAIN_DB_MM
            shadow = 0.5 * noise_at(tissue.noise, x / 9 + 21, y / 5 + 3, z / 5 + 12)
            out[i, j] += tissue.texture.loss_spread * shadow


@kernel
def skin_depths(tissue, points, out):
    """Fill out (L,) with the skin depth at limb points (L, 4)."""
    for i in range(out.shape[0]):
        out[i] = skin_depth(tissue.layers, points[i, 0], points[i, 1], points[i, 2])
