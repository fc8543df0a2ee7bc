/** The RabbitMQ broker that runs on this machine: at `AMQP_URL`, else at the default port. */
import { describe } from "@effect/vitest"
import { connect } from "node:net"

export const rabbitUrl = process.env.AMQP_URL ?? "amqp://guest:guest@127.0.0.1:5672"

const answers = await new Promise<boolean>((resolve) => {
  const { hostname, port } = new URL(rabbitUrl)
  const socket = connect(Number(port) || 5672, hostname, () => {
    socket.destroy()
    resolve(true)
  })
  socket.once("error", () => resolve(false))
})

/** Describes tests that need the broker: skipped under a name that says so, or failing in CI, where none answers. */
export const describeRabbit = (name: string, tests: () => void): void => {
  if (answers || process.env.CI === "true") describe(name, tests)
  else describe.skip(`${name} (needs a broker at ${rabbitUrl}: sudo apt-get install rabbitmq-server)`, tests)
}
