"""A population of users with known preferences: pairs whose true vote shares are known."""

from dissensus.simulate.population import Simulation, SimulationConfig, simulate

__all__ = ["Simulation", "SimulationConfig", "simulate"]
