import { assert, describe, it } from "@effect/vitest"
import * as addresses from "../src/internal/addresses.ts"

describe("addresses", () => {
  it.each([
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["203.0.113.7", "203.0.113.7", true],
    ["203.0.113.7", "203.0.113.8", false],
    ["2001:db8::/32", "2001:db8:1::5", true],
    ["2001:db8::/32", "2001:db9::5", false],
    ["::1", "::1", true],
    ["fe80::/10", "fe80::1%eth0", true],
    // What a socket that takes both kinds says of an IPv4 address.
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["0.0.0.0/0", "not an address", false]
  ])("of %s: %s is %s", (network, address, expected) => {
    assert.strictEqual(addresses.make([network]).includes(address), expected)
  })

  it.each([["10.0.0.0/33", false], ["::/129", false], ["10.0.0", false], ["host", false], ["10.0.0.0/", false], [
    "::/0",
    true
  ]])("%s is a network: %s", (text, expected) => {
    assert.strictEqual(addresses.isNetwork(text), expected)
  })

  const trusted = addresses.make(["10.0.0.0/8", "::1"])

  it.each([
    // Who is not trusted may write what it likes.
    ["203.0.113.7", "1.2.3.4", "203.0.113.7"],
    ["10.0.0.1", undefined, "10.0.0.1"],
    ["10.0.0.1", "1.2.3.4", "1.2.3.4"],
    // The client wrote the first, the outer proxy added the second.
    ["10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", "1.2.3.4"],
    ["::1", "[2001:db8::1]:443", "2001:db8::1"],
    ["10.0.0.1", "1.2.3.4:5678", "1.2.3.4"],
    ["10.0.0.1", "unknown", undefined],
    ["10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    [undefined, "1.2.3.4", undefined]
  ])("a request from %s for %s comes from %s", (remote, forwarded, expected) => {
    assert.strictEqual(addresses.origin(remote, forwarded, trusted), expected)
  })
})
