"""A population of users with known preferences: pairs whose true vote shares are known."""

from dissensus.simulate.population import Simulation, SimulationConfig, simulate
from dissensus.simulate.simulated_judge import simulated_judgments

__all__ = ["Simulation", "SimulationConfig", "simulate", "simulated_judgments"]
