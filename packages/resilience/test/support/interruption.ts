/** The harness of "interrupted at every scheduler step", as the package itself gives it to its users. */
export { interruptEverywhere, type InterruptOptions, type InterruptReport } from "@ballast/resilience/testing"
