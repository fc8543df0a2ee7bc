/**
 * What codes and words of an error mean, as one table; the first row that matches decides, else the status does.
 *
 * Codes are compared whole, under any status. Words are looked for in the message, under the statuses given, since the same words may
 * mean something else elsewhere. A pattern holds no repetition without a bound, so matching is linear.
 *
 * Sources: DS https://api-docs.deepseek.com/quick_start/error_codes · OA https://platform.openai.com/docs/guides/error-codes ·
 * ARK https://www.volcengine.com/docs/82379/1299023 (Volcengine Ark) · SF https://docs.siliconflow.cn/en/faqs/error-code (SiliconFlow) ·
 * MS https://www.alibabacloud.com/help/en/model-studio/error-code (Alibaba Model Studio) · OR https://openrouter.ai/docs/api/errors
 * (OpenRouter) · GLM https://docs.bigmodel.cn/cn/api/api-code (Zhipu) · MM https://platform.minimax.io/docs/api-reference/errorcode
 * (MiniMax) · ONE https://github.com/songquanpeng/one-api · VLLM https://github.com/vllm-project/vllm ·
 * ANT https://docs.claude.com/en/api/errors (Anthropic) · XAI https://docs.x.ai/docs/key-information/debugging · MOON
 * https://platform.moonshot.ai/docs/api/errors (Moonshot) · FW https://docs.fireworks.ai/guides/inference-error-codes (Fireworks) · LLM
 * https://docs.litellm.ai/docs/proxy/users · TGI https://github.com/huggingface/text-generation-inference · GROQ
 * https://console.groq.com/docs/errors · GH https://docs.github.com/en/github-models · AZ
 * https://learn.microsoft.com/en-us/azure/ai-services/openai/ ·
 * LCP https://github.com/ggml-org/llama.cpp/pull/15780 · JK https://docs.jiekou.ai/docs/models/reference-error-code
 */
import type * as ChatError from "@ballast/chat/ChatError"

export type Name = Exclude<(ChatError.ClientError | ChatError.ServerError)["reason"]["_tag"], "GatewayError">

export interface Meaning {
  readonly reason: Name
  readonly codes?: RegExp
  readonly words?: RegExp
  /** Statuses under which the words count; 200 stands for an error inside an answer of 200 that states no status. */
  readonly under?: ReadonlyArray<number>
  /** Words that take the meaning away again. */
  readonly except?: RegExp
}

/** Words of a limit that passes by itself. */
const rates = /rate[ _-]limit|(?:per|this|each)[ -](?:second|minute|hour|day)|\b[rt]p[smhd]\b|load[ -]balanc|concurren/i

const meanings: ReadonlyArray<Meaning> = [
  {
    reason: "ConcurrencyExceeded",
    // GLM 1302. Before balances: DS names both where a low balance lowers the limit.
    codes: /^(?:concurrency_exceeded|1302)$/i,
    words: /concurren|并发/i,
    under: [429, 200]
  },
  {
    reason: "ContentRejected",
    // OA and Azure content_filter · MS DataInspectionFailed, data_inspection_failed · ARK …SensitiveContentDetected, …RiskDetection ·
    // ONE sensitive_words_detected · GLM 1301 · MM 1026, 1027
    codes:
      /^(?:content_?filter|content_policy_violation|data_?inspection_?failed|(?:input|output)\w{0,24}(?:SensitiveContentDetected|RiskDetection)[.\w]{0,60}|SensitiveContentDetected[.\w]{0,60}|sensitive_(?:words?_detected|check_error)|responsible_?ai_policy_violation|moderation_(?:blocked|error)|1301|1026|1027)$/i,
    // DS "Content Exists Risk" · MS "may contain inappropriate content" · OR "flagged" · Azure "content management policy"
    words:
      /content exists risk|inappropriate content|content (?:management )?policy|content[ _]filter|safety (?:system|policy)|\bmoderation\b|sensitive (?:content|information|words?|chat)|\bflagged\b|敏感|违规内容|\brisk (?:control|detect)/i,
    under: [400, 403, 451, 200]
  },
  {
    reason: "InsufficientBalance",
    // OA insufficient_quota, billing_… · ARK AccountOverdueError · MS Arrearage · ONE insufficient_user_quota · SF 30001 · GLM 1113 ·
    // MM 1008 · JK NOT_ENOUGH_BALANCE · MOON exceeded_current_quota_error · LLM budget_exceeded
    codes:
      /^(?:exceeded_current_quota(?:_error)?|budget_exceeded|insufficient_(?:user_|account_)?(?:quota|balance|credits?|funds)|not_enough_balance|payment_required|account_?overdue(?:_?error)?|account_?arrears|arrearage|billing_(?:hard_limit_reached|not_active)|30001|1113|1008)$/i,
    words:
      /\b(?:insufficient|inadequate|not enough|no|negative|low|exceeded your|out of|run out of|overdue) (?:\w{1,20} ){0,3}(?:balance|credits?|quota|funds)\b|\b(?:balance|credits?|quota|funds) (?:\w{1,20} ){0,5}(?:insufficient|not enough|too low|overdue|negative|exhausted|used up|suffice|depleted)\b|\b(?:used|exhausted|not have|\w{2,5}n't have) (?:\w{1,20} ){0,4}(?:balance|credits?|quota|funds)\b|\b(?:remaining|current) balance\b|\bspending limit\b|\boverdue\b|\barrears?\b|top up|余额|欠费|额度(?:不足|已)|充值/i,
    under: [401, 403, 429, 500, 503, 200],
    except: rates
  },
  {
    reason: "InsufficientBalance",
    // Under a status that mostly speaks of the request, only words that can mean nothing else: ANT "Your credit balance is too low" · FW
    // "Account … is suspended, possibly due to reaching the monthly spending limit"
    words:
      /\b(?:balance|funds) (?:is |are )?(?:too low|insufficient|not enough)\b|\binsufficient (?:\w{1,20} ){0,2}(?:balance|credits|funds)\b|\bspending limit\b|账户余额不足|欠费/i,
    under: [400, 412],
    // What is quoted may be the request's own.
    except: /(?:^|[\s:(])["'`]/
  },
  {
    reason: "ContextLengthExceeded",
    // OA context_length_exceeded · LCP exceed_context_size_error (also under 500) · GLM 1261 · MM 1039 · GH tokens_limit_reached
    codes:
      /^(?:tokens_limit_reached|context_(?:length|window|size)_exceeded|exceed_context_size_error|tokens_too_long|token_limit_exceeded_error|1261|1039)$/i,
    // DS and VLLM "maximum context length" · SF "must be less than max_seq_len" · MS "Range of input length should be" · TGI "`inputs`
    // tokens + `max_new_tokens` must be", "`inputs` must have less than 4096 tokens" · GROQ "please reduce your message size" · SGLang "longer than the model's context length" · llama.cpp "exceeds the available context size"
    words:
      /maximum (?:context|sequence|model) length|context (?:length|window|size)|max_seq_len|max_model_len|range of input length|inputs?['`]? tokens (?:\+|and) ['`]?max_new_tokens|must have less than \d{1,12} tokens|reduce your (?:message|prompt|input)|prompt (?:is )?too long|input (?:is )?too long|too many (?:input )?tokens|reduce the length of the (?:messages|prompt|input)|上下文长度/i,
    under: [400, 413, 422, 500, 200]
  },
  {
    reason: "UnknownModel",
    // OA and VLLM model_not_found · ARK InvalidEndpointOrModel.NotFound, ModelNotOpen · SF 20012 · GLM 1211 · AZ DeploymentNotFound ·
    // Hugging Face model_not_supported
    codes:
      /^(?:deploymentnotfound|model_?not_?(?:found|exist|open|supported)|invalid_model(?:_error)?|unknown_model|invalidendpoint(?:ormodel)?\.(?:notfound|closedendpoint)|modelnotopen|20012|1211)$/i,
    // DS "The supported API model names are", "Model Not Exist" · VLLM "The model `x` does not exist." · OR "is not a valid model ID"
    words:
      /supported api model names are|\bmodels?\b(?: [^\s]{1,120}){0,4} (?:does not exist|not exist|doesn't exist|not found)|(?:no such|unknown|invalid|no available) model\b|not a valid model|模型不存在/i,
    under: [400, 403, 422, 200]
  },
  // A 404 that speaks of a model means the model, not the path: Ollama, VLLM, ARK, MS.
  { reason: "UnknownModel", words: /\bmodel\b|模型/i, under: [404] },
  {
    reason: "Unauthorized",
    // OA invalid_api_key · ARK AuthenticationError · MS InvalidApiKey · GLM and MM 1004 · MM 2049
    codes:
      /^(?:invalid_?api_?key|api_key_invalid|authentication_?error|invalid_authentication|unauthorized|1004|2049)$/i,
    words:
      /authentication fail|(?:api[ _-]?key|access token) (?:is )?(?:not valid|invalid|missing|incorrect)|(?:invalid|incorrect) api[ _-]?key/i,
    under: [400, 200]
  },
  {
    reason: "RateLimited",
    // MS Throttling… (also limit_requests) · OA rate_limit_exceeded · GLM 1303, 1305
    codes:
      /^(?:rate_?limit(?:_?exceeded|ed)?(?:_?error)?|throttling(?:\.\w{1,40})?|limit_requests|too_many_requests|RateLimitExceeded[.\w]{0,60}|1303|1305)$/i,
    words: /rate limit|too many requests|请求过于频繁/i,
    under: [200]
  },
  {
    reason: "Overloaded",
    // DS service_unavailable_error · ARK ServerOverloaded (under 429) · Anthropic overloaded_error · GLM 1312
    codes: /^(?:service_?unavailable(?:_?error)?|(?:server|model|engine)?_?overloaded(?:_?error)?|1312)$/i,
    words: /too busy|overloaded/i,
    under: [500, 200]
  }
]

/** The statuses that types stand for, where an answer of 200 states an error without one. */
export const impliedStatuses: ReadonlyArray<readonly [RegExp, number]> = [
  [/server_?error|internal/i, 500],
  [/timeout/i, 408],
  [/permission|forbidden/i, 403],
  [/not_?found/i, 404],
  [/invalid_?request|bad_?request|invalid_?param/i, 400]
]

/** What an error means, unless only its status says it. */
export const find = (
  status: number,
  codes: ReadonlyArray<string>,
  message: string | undefined
): Name | undefined =>
  meanings.find((meaning) =>
    codes.some((code) => meaning.codes?.test(code)) ||
    (message !== undefined && meaning.words !== undefined && (meaning.under?.includes(status) ?? false) &&
      meaning.words.test(message) && !(meaning.except?.test(message) ?? false))
  )?.reason
