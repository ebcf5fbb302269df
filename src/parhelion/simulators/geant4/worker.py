"""One Geant4 engine in a process of its own: reads showers to make from a pipe, answers with deposited energies.

Run as a file by `workers`; it imports nothing of Parhelion, so that it starts fast, and it finds its environment set.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

import geant4_pybind as g4
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_QUIET = ("/process/em/verbose 0", "/process/verbose 0", "/run/verbose 0", "/process/em/fluo false")


class _Geometry(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
    """Builds the detector; keeps all its parts alive, which Geant4 holds by bare pointers."""

    def __init__(self, detector: dict[str, Any]) -> None:
        super().__init__()
        self.detector = detector
        self.kept: list[Any] = []

    def Construct(self) -> Any:
        """Build the volumes and give the world."""
        width, segments = self.detector["width"], self.detector["segments"]
        depth = sum(s["layers"] * sum(p["thickness"] for p in s["slabs"]) for s in segments)
        world = self._box("world", 2 * width, 2 * width, 2 * depth + 2000.0, "G4_Galactic")
        placed = self._place(world, 0.0, None)
        z = 0.0
        for number, segment in enumerate(segments):
            pitch = sum(p["thickness"] for p in segment["slabs"])
            length = segment["layers"] * pitch
            body = self._box(f"segment{number}", width, width, length, "G4_Galactic")
            self._place(body, z + length / 2, world)
            layer = self._box(f"layer{number}", width, width, pitch, "G4_Galactic")
            self._replicate(layer, body, g4.kZAxis, segment["layers"], pitch)
            front = -pitch / 2
            for index, slab in enumerate(segment["slabs"]):
                name, thickness = f"slab{number}.{index}", slab["thickness"]
                plate = self._box(name, width, width, thickness, slab["material"])
                self._place(plate, front + thickness / 2, layer)
                front += thickness
                if slab["active"]:
                    self._divide(plate, f"cell{number}.{index}", segment["grid"], slab)
            z += length
        return placed

    def ConstructSDandField(self) -> None:
        """Score the energy in cells, and all that lies outside them."""
        manager = g4.G4SDManager.GetSDMpointer()
        for number, segment in enumerate(self.detector["segments"]):
            grid = segment["grid"]
            cells = g4.G4MultiFunctionalDetector(f"active{number}")
            manager.AddNewDetector(cells)
            # Depth 0 is the cell; above it stand its row (or ring), the slab, which counts as one, and the layer.
            layers, level = (1, 2) if segment["summed"] else (segment["layers"], 3)
            if grid["kind"] == "box":
                scorer = g4.G4PSEnergyDeposit3D("e", grid["nx"], grid["ny"], layers, 1, 0, level)
            else:
                scorer = g4.G4PSEnergyDeposit3D("e", grid["n_alpha"], grid["n_r"], layers, 0, 1, level)
            cells.RegisterPrimitive(scorer)
            rest = g4.G4MultiFunctionalDetector(f"passive{number}")
            manager.AddNewDetector(rest)
            total = g4.G4PSEnergyDeposit("e", 2)
            rest.RegisterPrimitive(total)
            for index, slab in enumerate(segment["slabs"]):
                if slab["active"]:
                    for name in self._cell_names(f"cell{number}.{index}", grid):
                        self.SetSensitiveDetector(name, cells)
                self.SetSensitiveDetector(f"slab{number}.{index}", rest)
            self.kept += [cells, scorer, rest, total]

    def _divide(self, plate: Any, name: str, grid: dict[str, Any], slab: dict[str, Any]) -> None:
        width, thickness, material = self.detector["width"], slab["thickness"], slab["material"]
        if grid["kind"] == "box":
            dx, dy = width / grid["nx"], width / grid["ny"]
            row = self._box(f"{name}.row", dx, width, thickness, material)
            self._replicate(row, plate, g4.kXAxis, grid["nx"], dx)
            self._replicate(self._box(name, dx, dy, thickness, material), row, g4.kYAxis, grid["ny"], dy)
            return
        step = 2 * np.pi / grid["n_alpha"]
        for number, cell in enumerate(self._cell_names(name, grid)):
            inner, outer = number * grid["ring"], (number + 1) * grid["ring"]
            ring = self._tube(f"{cell}.ring", inner, outer, thickness, -np.pi, 2 * np.pi, material)
            self._place(ring, 0.0, plate, number)
            part = self._tube(cell, inner, outer, thickness, -step / 2, step, material)
            self._replicate(part, ring, g4.kPhi, grid["n_alpha"], step, -np.pi)

    @staticmethod
    def _cell_names(name: str, grid: dict[str, Any]) -> list[str]:
        return [name] if grid["kind"] == "box" else [f"{name}.{ring}" for ring in range(grid["n_r"])]

    def _volume(self, name: str, solid: Any, material: str) -> Any:
        found = g4.G4NistManager.Instance().FindOrBuildMaterial(material)
        volume = g4.G4LogicalVolume(solid, found, name)
        self.kept += [solid, volume]
        return volume

    def _box(self, name: str, x: float, y: float, z: float, material: str) -> Any:
        return self._volume(name, g4.G4Box(name, x / 2, y / 2, z / 2), material)

    def _tube(self, name: str, inner: float, outer: float, z: float, start: float, angle: float, material: str) -> Any:
        return self._volume(name, g4.G4Tubs(name, inner, outer, z / 2, start, angle), material)

    def _place(self, volume: Any, z: float, mother: Any, number: int = 0) -> Any:
        placed = g4.G4PVPlacement(
            None, g4.G4ThreeVector(0.0, 0.0, z), volume, volume.GetName(), mother, False, number, False
        )
        self.kept.append(placed)
        return placed

    def _replicate(self, volume: Any, mother: Any, axis: Any, n: int, width: float, offset: float = 0.0) -> None:
        self.kept.append(g4.G4PVReplica(volume.GetName(), volume, mother, axis, n, width, offset))


class _Physics(g4.G4VModularPhysicsList):  # type: ignore[misc]
    """A list with one physics constructor."""

    def __init__(self, constructor: str) -> None:
        super().__init__()
        self.SetVerboseLevel(0)
        self.RegisterPhysics(getattr(g4, constructor)())


class _Gun(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[misc]
    """Shoots the particle of each event, after setting the event's own seed."""

    def __init__(self) -> None:
        super().__init__()
        self.gun = g4.G4ParticleGun(1)
        self.names = g4.G4ParticleTable.GetParticleTable()
        self.batch: dict[str, Any] = {}
        self.next = 0

    def GeneratePrimaries(self, event: Any) -> None:
        """Shoot the next particle of the batch."""
        i, self.next = self.next, self.next + 1
        batch = self.batch
        g4.G4Random.setTheSeed(int(batch["seed"][i]))
        self.gun.SetParticleDefinition(self.names.FindParticle(batch["particle"][i]))
        self.gun.SetParticleEnergy(float(batch["energy"][i]))
        self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(*map(float, batch["direction"][i])))
        self.gun.SetParticlePosition(g4.G4ThreeVector(*map(float, batch["position"][i])))
        self.gun.GeneratePrimaryVertex(event)


class _Readout(g4.G4UserEventAction):  # type: ignore[misc]
    """Collects the deposits of each event [MeV]."""

    def __init__(self, detector: dict[str, Any]) -> None:
        super().__init__()
        self.shapes = [
            ((g["nx"], g["ny"]) if g["kind"] == "box" else (g["n_alpha"], g["n_r"]))
            + (1 if s["summed"] else s["layers"],)
            for s in detector["segments"]
            for g in (s["grid"],)
        ]
        self.ids: list[tuple[int, int]] = []
        self.active: list[list[FloatArray]] = []
        self.passive: list[list[float]] = []

    def EndOfEventAction(self, event: Any) -> None:
        """Read the hit maps."""
        manager = g4.G4SDManager.GetSDMpointer()
        if not self.ids:
            self.ids = [
                (manager.GetCollectionID(f"active{i}/e"), manager.GetCollectionID(f"passive{i}/e"))
                for i in range(len(self.shapes))
            ]
        hits = event.GetHCofThisEvent()
        active, passive = [], []
        for shape, (cells, rest) in zip(self.shapes, self.ids, strict=True):
            flat = np.zeros(int(np.prod(shape)))
            for index, value in hits.GetHC(cells):
                flat[index] = value
            active.append(np.moveaxis(flat.reshape(shape), 2, 0))
            passive.append(float(sum(value for _, value in hits.GetHC(rest))))
        self.active.append(active)
        self.passive.append(passive)


def serve(pipe: Connection) -> None:
    """Build the detector that comes first, say which engine it is, then answer batches until the pipe ends."""
    job = pipe.recv()
    manager = g4.G4RunManagerFactory.CreateRunManager(g4.G4RunManagerType.Serial)
    # Objects stay bound to names here: Geant4 holds them by bare pointers.
    geometry = _Geometry(job["detector"])
    physics = _Physics(job["physics"]) if job["constructor"] else getattr(g4, job["physics"])()
    command = g4.G4UImanager.GetUIpointer().ApplyCommand
    manager.SetUserInitialization(geometry)
    manager.SetUserInitialization(physics)
    # SetDefaultCutValue is overridden when the run starts; this is not.
    command(f"/run/setCut {job['cut']} mm")
    gun, readout = _Gun(), _Readout(job["detector"])
    manager.SetUserAction(gun)
    manager.SetUserAction(readout)
    for line in _QUIET:
        command(line)
    manager.Initialize()
    manager.BeamOn(0)
    pipe.send({"geant4": g4.G4Version})
    while True:
        try:
            batch = pipe.recv()
        except EOFError:
            return
        n = len(batch["seed"])
        gun.batch, gun.next = batch, 0
        readout.active, readout.passive = [], []
        start = time.process_time()
        manager.BeamOn(n)
        seconds = time.process_time() - start
        segments = range(len(readout.shapes))
        pipe.send(
            {
                "active": [np.stack([event[i] for event in readout.active]) for i in segments],
                "seconds": seconds,
                "passive": np.array(readout.passive).reshape(n, len(readout.shapes)),
            }
        )


if __name__ == "__main__":
    # Geant4 prints to standard output; nothing that a user reads must get in between.
    os.dup2(2, 1)
    serve(Connection(int(sys.argv[1])))
    # Geant4 and Python disagree about who deletes what at the end.
    sys.stderr.flush()
    os._exit(0)
