/** What a step of a workflow costs beside calling its service, and how many runs a second that makes. */
import { type Bench, worker } from "./bench.ts"
import { schema } from "./postgres.ts"

const workflow: Bench = {
  about: "A step of a workflow of ten, kept in memory, in a SQLite file and in Postgres, beside a call of its service",
  plan: { operations: 200, turns: 6, expected: 1 },
  lanes: [1, 16],
  targets: [],
  sides: async (_service, started, lanes) => {
    const { drop, url } = await schema(String(lanes))
    started(drop)
    const side = (name: string, side: string) => worker(started, { name, module: "workflow", side }, url, lanes)
    return [
      { ...side("its service", "direct"), operations: 20_000 },
      side("memory", "memory"),
      side("SQLite", "sqlite"),
      side("Postgres", "postgres")
    ]
  }
}

export const workflowBenches = { workflow }
