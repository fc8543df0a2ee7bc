/**
 * Hosts of models by the name that a settings file gives as `type`.
 *
 * | type | where | what is particular |
 * |---|---|---|
 * | `deepseek` | `https://api.deepseek.com` | limits of concurrent calls, balance |
 * | `openai` | needs `baseUrl` | whatever else speaks the API |
 * | `ark` | Volcengine Ark, Beijing | endpoint ids are models |
 * | `siliconflow` | `https://api.siliconflow.cn/v1` | |
 * | `dashscope` | Alibaba Model Studio, compatible mode | |
 * | `openrouter`, `together`, `fireworks` | their APIs | |
 * | `simulator` | in memory | a stand-in for DeepSeek, for trying things out |
 * | `local` | in this process | ONNX models of the gateway: embeddings only |
 * | `vllm`, `sglang`, `llamacpp`, `ollama` | their default ports on this machine | need no key |
 *
 * @see {@link https://www.volcengine.com/docs/82379/1298454} Volcengine Ark
 * @see {@link https://docs.siliconflow.cn/cn/api-reference/chat-completions/chat-completions} SiliconFlow
 * @see {@link https://help.aliyun.com/zh/model-studio/compatibility-of-openai-with-dashscope} Alibaba Model Studio
 * @see {@link https://openrouter.ai/docs/api-reference/overview} OpenRouter
 * @see {@link https://docs.together.ai/docs/openai-api-compatibility} Together
 * @see {@link https://docs.fireworks.ai/tools-sdks/openai-compatibility} Fireworks
 * @see {@link https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html} vLLM
 * @since 0.1.0
 */
import * as Provider from "@ballast/deepseek/Provider"

/**
 * @category models
 * @since 0.1.0
 */
export interface Preset {
  /** Where the host is; undefined where that differs for everybody. */
  readonly baseUrl: string | undefined
  /** Whether calls need no key. */
  readonly keyless: boolean
  readonly make: (options: { readonly name: string; readonly baseUrl: string }) => Provider.Provider
}

const openai = (baseUrl?: string, keyless = false): Preset => ({
  baseUrl,
  keyless,
  make: (given) => Provider.make({ ...given, paths: { embeddings: "/embeddings" } })
})

/**
 * The presets by type.
 *
 * @category models
 * @since 0.1.0
 */
export const presets = {
  deepseek: {
    baseUrl: Provider.deepSeek.baseUrl,
    keyless: false,
    make: (given) => ({ ...Provider.deepSeek, ...given })
  },
  simulator: {
    baseUrl: "http://simulator.invalid",
    keyless: true,
    make: (given) => ({
      ...Provider.deepSeek,
      ...given,
      paths: { ...Provider.deepSeek.paths, embeddings: "/embeddings" },
      // It takes only keys of the service's form.
      authorize: (key) => Provider.deepSeek.authorize(key.startsWith("sk-") ? key : "sk-simulated")
    })
  },
  // It has nothing but embeddings.
  local: openai("http://local.invalid", true),
  openai: openai(),
  ark: openai("https://ark.cn-beijing.volces.com/api/v3"),
  siliconflow: openai("https://api.siliconflow.cn/v1"),
  dashscope: openai("https://dashscope.aliyuncs.com/compatible-mode/v1"),
  openrouter: openai("https://openrouter.ai/api/v1"),
  together: openai("https://api.together.xyz/v1"),
  fireworks: openai("https://api.fireworks.ai/inference/v1"),
  vllm: openai("http://127.0.0.1:8000/v1", true),
  sglang: openai("http://127.0.0.1:30000/v1", true),
  llamacpp: openai("http://127.0.0.1:8080/v1", true),
  ollama: openai("http://127.0.0.1:11434/v1", true)
} as const satisfies Record<string, Preset>

/**
 * The name of a preset.
 *
 * @category models
 * @since 0.1.0
 */
export type Type = keyof typeof presets

/**
 * The names of all presets.
 *
 * @category models
 * @since 0.1.0
 */
// The keys of a constant record are its own.
export const types = Object.keys(presets) as ReadonlyArray<Type>
