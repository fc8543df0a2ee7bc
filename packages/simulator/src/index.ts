/**
 * A stand-in for the DeepSeek service, in memory and over HTTP, with faults on demand.
 *
 * @since 0.1.0
 */
export * as Fault from "./Fault.ts"
export * as Simulator from "./Simulator.ts"
export * as SimulatorOptions from "./SimulatorOptions.ts"
export * as SimulatorServer from "./SimulatorServer.ts"
