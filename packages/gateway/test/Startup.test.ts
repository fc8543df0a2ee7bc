import { Startup } from "@ballast/gateway"
import { assert, describe, it } from "@effect/vitest"
import { NetAddress } from "effect/net"

const address = (port: number) => NetAddress.inetAddressFromIpStringUnsafe("127.0.0.1", port)

describe("Startup", () => {
  it.each(["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])(
    "%s is this machine only",
    (host) => {
      assert.isTrue(Startup.isLoopback(host))
    }
  )

  it.each(["0.0.0.0", "::", "192.168.1.2", "128.0.0.1", "example.lan", "127.0.0.1.example.com"])(
    "%s is beyond it",
    (host) => {
      assert.isFalse(Startup.isLoopback(host))
    }
  )

  it.each([
    ["127.0.0.1", "http://127.0.0.1:1234"],
    ["0.0.0.0", "http://127.0.0.1:1234"],
    ["::", "http://[::1]:1234"],
    ["::1", "http://[::1]:1234"],
    ["localhost", "http://localhost:1234"]
  ])("HOST=%s is reached at %s", (host, url) => {
    assert.strictEqual(Startup.urlOf(host, address(1234)), url)
  })

  it("says plainly that the simulator answers", () => {
    const text = Startup.text({
      version: "1.2.3",
      url: "http://127.0.0.1:8787",
      upstream: { simulated: true, text: "" },
      clients: 0,
      needsKey: false
    })
    assert.include(text, "http://127.0.0.1:8787")
    assert.include(text, "SIMULATOR")
    assert.include(text, "DEEPSEEK_API_KEY")
    assert.notInclude(text, "uthorization")
  })

  it("shows a placeholder where a client key belongs", () => {
    const text = Startup.text({
      version: "1.2.3",
      url: "http://127.0.0.1:8787",
      upstream: { simulated: false, text: "DeepSeek at https://api.deepseek.com" },
      clients: 2,
      needsKey: true
    })
    assert.include(text, "-H 'authorization: Bearer YOUR_CLIENT_KEY'")
    assert.include(text, "DeepSeek at https://api.deepseek.com")
    assert.include(text, "a client's key (2 clients in the settings)")
  })

  it("says that a key is needed where all clients are made while the gateway runs", () => {
    const text = Startup.text({
      version: "1.2.3",
      url: "http://127.0.0.1:8787",
      upstream: { simulated: true, text: "" },
      clients: 0,
      needsKey: true
    })
    assert.include(text, "a client's key (ballast keys list shows them)")
    assert.include(text, "YOUR_CLIENT_KEY")
  })

  it.each([
    [["deepseek-flash", "m"], "deepseek-flash"],
    [["*", "m", "deepseek-flash"], "deepseek-flash"],
    [["*", "m"], "m"],
    [["*"], "deepseek-flash"]
  ])("with the models %j the example asks for %s", (names, model) => {
    assert.strictEqual(Startup.modelOf(names), model)
  })

  it("shows a model's name so that a shell takes it as it is", () => {
    assert.include(Startup.curl("http://127.0.0.1:8787", { model: "it's" }), `-d '{"model":"it'\\''s",`)
  })

  it("does not send to DEEPSEEK_API_KEY where the settings name the providers", () => {
    const text = Startup.text({
      version: "1.2.3",
      url: "http://127.0.0.1:8787",
      upstream: { simulated: true, text: "" },
      named: true,
      model: "m",
      clients: 0,
      needsKey: false
    })
    assert.include(text, "SIMULATOR")
    assert.notInclude(text, "DEEPSEEK_API_KEY")
    assert.include(text, "\"model\":\"m\"")
  })
})
