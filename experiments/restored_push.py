"""How exactly a push is restored: 60 episodes, 15 pushes each, from the middle of an episode on and again from a copy of it.

python experiments/restored_push.py
"""

import numpy as np

from worldline.envs.push import Push
from worldline.envs.record import draw_attributes


def main() -> None:
    simulator, off = Push(), []
    for seed in range(60):
        simulator.reset(7 + seed, draw_attributes(simulator, seed=seed, split="validation"))
        act = simulator.policy("push", np.random.default_rng(seed))
        for _ in range(10 + seed % 20):
            simulator.step(np.asarray(act(), np.float32))
        saved, actions, states = simulator.save(), [], []
        for _ in range(15):
            actions.append(np.asarray(act(), np.float32))
            simulator.step(actions[-1])
            states.append(simulator.state())
        simulator.load(saved)
        again = []
        for action in actions:
            simulator.step(action)
            again.append(simulator.state())
        off.append(float(np.abs(np.array(states) - np.array(again)).max()))
    print(f"the same bits: {off.count(0.0)} of {len(off)}; the others: {sorted(value for value in off if value)}")


if __name__ == "__main__":
    main()
