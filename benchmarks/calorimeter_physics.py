"""Physics of the Geant4 calorimeters against expectation: the numbers and figures of docs/calorimeter-physics.md.

Run with ``python benchmarks/calorimeter_physics.py --figures docs``; about ten minutes on one core. Every line gives
value, statistical error, and what the literature or the geometry lets one expect.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import curve_fit
from scipy.special import gammaln

from common import describe, table
from parhelion.sample import Sample, concatenate
from parhelion.simulators import simulator
from parhelion.simulators.geant4 import engine

# Lead and polystyrene (PDG 2024): density [g/cm3], radiation length, critical energy [MeV], Moliere radius [g/cm2].
LEAD = (11.35, 6.37, 7.43, 18.18)
SCINTILLATOR = (1.06, 43.79, 93.11, 9.92)
PLATES = (0.2, 0.4)  # cm
PITCH = 0.6  # cm
ENERGIES = ((1, 300), (2, 240), (5, 200), (10, 200), (20, 120), (50, 80), (100, 50))
MINIMUM_IONISING = (12.74, 2.05)  # MeV/cm in lead and polystyrene


def composite() -> tuple[float, float, float]:
    """Radiation length [cm], critical energy [MeV], Moliere radius [cm] of the layers, by mass fractions (PDG)."""
    mass = np.array([plate * material[0] for plate, material in zip(PLATES, (LEAD, SCINTILLATOR), strict=True)])
    w, density = mass / mass.sum(), mass.sum() / PITCH
    x0, critical, moliere = np.array([LEAD[1:], SCINTILLATOR[1:]]).T
    length = 1 / (w / x0).sum()
    return length / density, length * (w * critical / x0).sum(), 1 / (w / moliere).sum() / density


def showers(energy: float, n: int, seed: int, **options: object) -> Sample:
    chosen = {"momentum_min": energy, "momentum_max": energy, "angle": 0.0, "profile": True, **options}
    return concatenate(simulator("ecal", chosen).simulate(n, seed=seed))


def response(sample: Sample) -> np.ndarray:
    """Visible energy over momentum."""
    return np.asarray(sample["energy"].sum(axis=(1, 2)) / np.linalg.norm(sample.condition[:, :3], axis=1))


def mean(x: np.ndarray) -> tuple[float, float]:
    return float(x.mean()), float(x.std(ddof=1) / np.sqrt(len(x)))


def spread(x: np.ndarray) -> tuple[float, float]:
    """Relative width and its error, allowing for the tails by the fourth moment."""
    d = x - x.mean()
    variance, fourth = (d**2).mean(), (d**4).mean()
    error = np.sqrt(max(fourth - variance**2, 0) / len(x)) / (2 * np.sqrt(variance))
    return float(np.sqrt(variance) / x.mean()), float(error / x.mean())


def bootstrap(rows: int, value: object, seed: int, times: int = 100) -> float:
    """Standard error of a function of row indices."""
    g = np.random.default_rng(seed)
    return float(np.std([value(g.integers(0, rows, rows)) for _ in range(times)]))  # type: ignore[operator]


def gamma_profile(t: np.ndarray, total: float, a: float, b: float) -> np.ndarray:
    """Longitudinal profile dE/dt = E b (b t)^(a-1) exp(-b t) / Gamma(a) (PDG, eq. 34.37)."""
    return np.asarray(total * np.exp(np.log(b) + (a - 1) * np.log(b * t) - b * t - gammaln(a)))


def maximum(profile: np.ndarray, x0: float) -> float:
    """Depth of the maximum [X0] of a mean profile, from a fit of the gamma distribution."""
    t = (PITCH * np.arange(len(profile)) + PLATES[0] + PLATES[1] / 2) / x0
    (_, a, b), _ = curve_fit(gamma_profile, t, profile, p0=(profile.sum() * PITCH / x0, 4.0, 0.5), maxfev=10_000)
    return float((a - 1) / b)


def radius_of_share(sample: Sample, share: float) -> float:
    """Radius [cm] around the impact with a share of the visible energy; energy even within its cell."""
    centres = 2.0 * np.arange(30) - 29.0
    inner = (np.arange(10) - 4.5) * 0.2
    fine = (centres[:, None] + inner).ravel()
    radii, weights = [], []
    for image, x, y in zip(sample["energy"], sample["x"] / 10, sample["y"] / 10, strict=True):
        r = np.hypot(fine[:, None] - x, fine[None, :] - y)
        radii.append(np.histogram(r, bins=RADII, weights=np.kron(image, np.full((10, 10), 0.01)))[0])
        weights.append(image.sum())
    grown = np.cumsum(np.sum(radii, axis=0)) / np.sum(weights)
    return float(np.interp(share, grown, RADII[1:]))


RADII = np.linspace(0, 30, 301)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies all numbers of showers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--figures", type=Path, help="folder for the figures")
    parser.add_argument("--tables", type=Path, help="other electromagnetic tables (a G4LEDATA) to compare with")
    options = parser.parse_args()
    if options.tables is not None:
        print(other_tables(options.tables, options.seed, options.scale))
        return
    x0, critical, moliere = composite()
    print(describe(seed=options.seed, scale=options.scale, **engine().provenance()))
    print(f"\nlayers: X0 {10 * x0:.2f} mm, critical energy {critical:.2f} MeV, Moliere radius {10 * moliere:.1f} mm\n")
    samples = {energy: showers(energy, max(20, int(options.scale * n)), options.seed) for energy, n in ENERGIES}
    rows, found = [], []
    for energy, sample in samples.items():
        shares, profile = response(sample), np.asarray(sample["layers"], np.float64)
        kept = (sample["energy"].sum(axis=(1, 2)) + sample["absorber"]) / energy
        (r, dr), (s, ds), (c, dc) = mean(shares), spread(shares), mean(np.asarray(kept))
        t = maximum(profile.mean(axis=0), x0)
        dt = bootstrap(len(sample), lambda i, p=profile: maximum(p[i].mean(axis=0), x0), options.seed, 40)
        expected = np.log(1000 * energy / critical) - 0.5
        found.append((energy, r, dr, s, ds, c, dc, t, dt, expected))
        rows.append(
            {
                "E [GeV]": energy,
                "showers": len(sample),
                "visible / E": f"{r:.4f} +- {dr:.4f}",
                "sigma / E [%]": f"{100 * s:.2f} +- {100 * ds:.2f}",
                "times sqrt(E)": f"{100 * s * np.sqrt(energy):.1f} +- {100 * ds * np.sqrt(energy):.1f}",
                "contained [%]": f"{100 * c:.2f} +- {100 * dc:.2f}",
                "maximum [X0]": f"{t:.2f} +- {dt:.2f}",
                "ln(E/Ec) - 0.5": f"{expected:.2f}",
            }
        )
    print(table(rows))
    data = np.array(found)
    print(f"\n{summary(data)}")
    print(f"\n{further(samples[10], options.seed, options.scale, x0, moliere)}")
    print(f"\n{others(options.seed, options.scale)}")
    if options.figures is not None:
        draw(data, samples, x0, options.figures / "calorimeter-physics.png")


def summary(data: np.ndarray) -> str:
    energy, r, dr, s, ds = data[:, :5].T
    weight = 1 / dr**2
    average = (weight * r).sum() / weight.sum()
    chi2 = (((r - average) / dr) ** 2).sum()

    def resolution(e: np.ndarray, a: float, b: float) -> np.ndarray:
        return np.asarray(np.hypot(a / np.sqrt(e), b))

    (a, b), cov = curve_fit(resolution, energy, s, p0=(0.08, 0.005), sigma=ds, absolute_sigma=True)
    da, db = np.sqrt(np.diag(cov))
    rule = 2.7 * np.sqrt(10 * PLATES[1] / mip_fraction())
    rows = [
        {
            "quantity": "visible / E, all energies",
            "value": f"{average:.4f} +- {1 / np.sqrt(weight.sum()):.4f}",
            "expectation": f"constant: chi2 / ndf {chi2:.1f} / {len(r) - 1}, largest deviation "
            f"{100 * np.abs(r / average - 1).max():.2f} %",
        },
        {
            "quantity": "e / mip",
            "value": f"{average / mip_fraction():.3f}",
            "expectation": f"below 1 with lead: low-energy photons stop there (mip fraction {mip_fraction():.3f})",
        },
        {
            "quantity": "stochastic term [%]",
            "value": f"{100 * a:.2f} +- {100 * da:.2f}",
            "expectation": f"2.7 sqrt(d / f) = {rule:.1f} (Livan, Wigmans), with photostatistics; here deposits only",
        },
        {"quantity": "constant term [%]", "value": f"{100 * abs(b):.2f} +- {100 * db:.2f}", "expectation": "leakage"},
    ]
    return table(rows)


def mip_fraction() -> float:
    loss = np.array(PLATES) * np.array(MINIMUM_IONISING)
    return float(loss[1] / loss.sum())


def further(sample: Sample, seed: int, scale: float, x0: float, moliere: float) -> str:
    """Lateral size, photons, angles: all at 10 GeV."""
    radius = radius_of_share(sample, 0.9)
    dr = bootstrap(len(sample), lambda i: radius_of_share(sample.take(i), 0.9), seed, 10)
    photons = showers(10, max(20, int(200 * scale)), seed + 1, particles=("gamma",))
    profile = {name: np.asarray(s["layers"], np.float64) for name, s in (("e", sample), ("g", photons))}
    t = {name: maximum(p.mean(axis=0), x0) for name, p in profile.items()}
    dt = {
        name: bootstrap(len(p), lambda i, p=p: maximum(p[i].mean(axis=0), x0), seed, 40) for name, p in profile.items()
    }
    tilted = showers(10, max(20, int(300 * scale)), seed + 2, angle=5.0)
    centres, energy = 2.0 * np.arange(30) - 29.0, np.asarray(tilted["energy"], np.float64)
    total = energy.sum(axis=(1, 2))
    rows = [
        {
            "at 10 GeV": "radius with 90 % of the visible energy [cm]",
            "value": f"{radius:.2f} +- {dr:.2f}",
            "expectation": f"near one Moliere radius, {moliere:.2f}",
        },
        {
            "at 10 GeV": "maximum, photons minus electrons [X0]",
            "value": f"{t['g'] - t['e']:.2f} +- {np.hypot(*dt.values()):.2f}",
            "expectation": "1 (PDG; 0.5 to 1 in simulation)",
        },
        {
            "at 10 GeV": "visible / E of photons",
            "value": "{:.4f} +- {:.4f}".format(*mean(response(photons))),
            "expectation": "that of electrons",
        },
    ]
    layers = np.asarray(tilted["layers"], np.float64)
    z = PITCH * np.arange(layers.shape[1]) + PLATES[0] + PLATES[1] / 2
    depth = mean(layers @ z / layers.sum(axis=1))
    for axis, name in ((2, "x"), (1, "y")):
        shift = energy.sum(axis=axis) @ centres / total - tilted[name] / 10
        slope = np.asarray(tilted[f"p{name}"] / tilted["pz"], np.float64)
        (gradient, offset), cov = np.polyfit(slope, np.asarray(shift, np.float64), 1, cov=True)
        errors = np.sqrt(np.diag(cov))
        rows += [
            {
                "at 10 GeV": f"centroid in {name} against slope p{name} / pz [cm]",
                "value": f"{gradient:.2f} +- {errors[0]:.2f}",
                "expectation": f"mean depth of the shower, {depth[0]:.2f} +- {depth[1]:.2f}",
            },
            {
                "at 10 GeV": f"centroid in {name} at slope 0 [cm]",
                "value": f"{offset:.3f} +- {errors[1]:.3f}",
                "expectation": "0",
            },
        ]
    return table(rows)


def others(seed: int, scale: float) -> str:
    """Response of the other calorimeters at 10 GeV."""
    expected = {
        "calogan": "energy in lead and argon: near 1",
        "cylinder": "silicon / 0.033: near 1, as in the CaloChallenge's data set 2",
        "cube": "sampling fraction of 0.5 mm silicon in tungsten",
    }
    rows = []
    for name, text in expected.items():
        made = simulator(name, {"energy_min": 10, "energy_max": 10})
        sample = concatenate(made.simulate(max(20, int(100 * scale)), seed=seed))
        shares = sample.response.sum(axis=1) / sample.condition[:, 0]
        r, s = mean(shares), spread(shares)
        hits = mean((sample.response > 0).sum(axis=1))
        rows.append(
            {
                "10 GeV": name,
                "showers": len(sample),
                "response / E": f"{r[0]:.4f} +- {r[1]:.4f}",
                "sigma / E [%]": f"{100 * s[0]:.2f} +- {100 * s[1]:.2f}",
                "cells hit": f"{hits[0]:.0f} +- {hits[1]:.0f}",
                "expectation": text,
            }
        )
    return table(rows)


def other_tables(folder: Path, seed: int, scale: float) -> str:
    """Electrons of 10 GeV with the tables in use and with others."""
    rows, x0 = [], composite()[0]
    n = max(20, int(400 * scale))
    for label, tables in (("in use", None), (folder.name, folder)):
        if tables is not None:
            os.environ["G4LEDATA"] = str(tables)
        sample = showers(10, n, seed)
        r, s = mean(response(sample)), spread(response(sample))
        profile = np.asarray(sample["layers"], np.float64)
        z = PITCH * np.arange(profile.shape[1]) + PLATES[0] + PLATES[1] / 2
        depth = mean(profile @ z / profile.sum(axis=1) / x0)
        radius = radius_of_share(sample, 0.9)
        rows.append(
            {
                "tables": label,
                "showers": n,
                "visible / E": f"{r[0]:.4f} +- {r[1]:.4f}",
                "sigma / E [%]": f"{100 * s[0]:.2f} +- {100 * s[1]:.2f}",
                "mean depth [X0]": f"{depth[0]:.2f} +- {depth[1]:.2f}",
                "radius with 90 % [cm]": f"{radius:.2f}",
            }
        )
    return table(rows)


def draw(data: np.ndarray, samples: dict[int, Sample], x0: float, path: Path) -> None:
    mpl.use("Agg")
    energy, r, dr, s, ds, _, _, t, dt, expected = data.T
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    axis = axes[0, 0]
    axis.errorbar(energy, r, dr, fmt="o", color="C0")
    axis.axhspan(r.mean() * 0.995, r.mean() * 1.005, color="0.9", label="mean within 0.5 %")
    axis.set(xscale="log", xlabel="Energy [GeV]", ylabel="Visible energy / energy", title="Linearity")
    axis.legend(frameon=False)
    axis = axes[0, 1]
    axis.errorbar(1 / np.sqrt(energy), 100 * s, 100 * ds, fmt="o", color="C0")
    line = np.linspace(0, 1, 50)
    (a, b), _ = curve_fit(lambda x, a, b: np.hypot(a * x, b), 1 / np.sqrt(energy), 100 * s, p0=(8, 0.5), sigma=100 * ds)
    text = f"{a:.1f} % / sqrt(E) (+) {abs(b):.1f} %"
    axis.plot(line, np.hypot(a * line, b), color="C1", label=text)
    axis.set(xlabel="1 / sqrt(E / GeV)", ylabel="Resolution [%]", title="Resolution", xlim=(0, 1.05), ylim=(0, None))
    axis.legend(frameon=False)
    axis = axes[1, 0]
    depth = (PITCH * np.arange(66) + PLATES[0] + PLATES[1] / 2) / x0
    for index, chosen in enumerate((1, 10, 100)):
        profile = np.asarray(samples[chosen]["layers"], np.float64)
        level = profile.mean(axis=0) / profile.sum(axis=1).mean()
        error = profile.std(axis=0) / np.sqrt(len(profile)) / profile.sum(axis=1).mean()
        axis.errorbar(depth, 100 * level, 100 * error, fmt=".", ms=3, color=f"C{index}", label=f"{chosen} GeV")
    axis.set(xlabel="Depth [X0]", ylabel="Visible energy in a layer [%]", title="Longitudinal profile")
    axis.legend(frameon=False)
    axis = axes[1, 1]
    axis.errorbar(energy, t, dt, fmt="o", color="C0", label="Geant4, fit of a gamma distribution")
    axis.plot(energy, expected, color="C1", label="ln(E / Ec) - 0.5")
    axis.set(xscale="log", xlabel="Energy [GeV]", ylabel="Maximum [X0]", title="Shower maximum")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
