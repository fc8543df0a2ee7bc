import { ClientDeadline } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"

const forms: ReadonlyArray<readonly [name: string, value: string, millis: number]> = [
  ["x-request-timeout", "4", 4_000],
  ["x-request-timeout", "0.5", 500],
  ["x-request-timeout", "500ms", 500],
  ["x-request-timeout", "30s", 30_000],
  ["x-request-timeout", "1.5m", 90_000],
  ["x-request-timeout", "1h", 3_600_000],
  ["grpc-timeout", "2H", 7_200_000],
  ["grpc-timeout", "3M", 180_000],
  ["grpc-timeout", "4S", 4_000],
  ["grpc-timeout", "250m", 250],
  ["grpc-timeout", "250000u", 250],
  ["grpc-timeout", "99999999n", 99.999999]
]

/** The same name, other forms: a deadline that can't be read must not end a call. */
const none: ReadonlyArray<readonly [name: string, values: ReadonlyArray<string>]> = [
  ["x-request-timeout", ["", "0", "0s", "-1", "4 s", "4d", "1e3", "Infinity", "NaN", "s", "4s5", "١", "1".repeat(17)]],
  ["grpc-timeout", ["", "4", "4s", "0S", "123456789S", "1.5S", "S", "-1S", " 1S"]],
  ["x-stainless-timeout", ["", "0", "4s", "-4", "1e3", "not given"]],
  ["x-stainless-read-timeout", ["", "0", "None", "4s"]]
]

describe("ClientDeadline", () => {
  it.each(forms)("reads %s: %s for the whole call", (name, value, millis) => {
    const { beginning, whole } = ClientDeadline.read({ [name]: value })
    assert.approximately(whole, millis, 1e-6)
    assert.strictEqual(beginning, whole)
  })

  it.each([["x-stainless-timeout"], ["x-stainless-read-timeout"]])("reads %s for the answer's beginning", (name) => {
    assert.deepStrictEqual(ClientDeadline.read({ [name]: "600" }), { beginning: 600_000, whole: Infinity })
    assert.deepStrictEqual(ClientDeadline.read({ [name]: "2.5" }), { beginning: 2_500, whole: Infinity })
  })

  it("takes the nearest of several", () => {
    const headers = { "x-request-timeout": "9", "grpc-timeout": "8S", "x-stainless-timeout": "7" }
    assert.deepStrictEqual(ClientDeadline.read(headers), { beginning: 7_000, whole: 8_000 })
    assert.deepStrictEqual(ClientDeadline.read({ ...headers, "x-stainless-read-timeout": "6" }).beginning, 6_000)
    assert.deepStrictEqual(ClientDeadline.read({ ...headers, "x-stainless-timeout": "600" }).beginning, 8_000)
  })

  it.each(none)("takes what is no value of %s for none", (name, values) => {
    for (const value of values) {
      assert.deepStrictEqual(ClientDeadline.read({ [name]: value }), { beginning: Infinity, whole: Infinity }, value)
    }
  })
})
