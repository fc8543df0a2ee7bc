/** The runtime's errors have no code, only text, which quotes its C++ sources and paths. So they are told by what the text has in it. */

type Rule = readonly [pattern: RegExp, words: (match: RegExpExecArray) => string]

const loading: ReadonlyArray<Rule> = [
  [/protobuf parsing failed|Model data pointer is null/i, () => "the file is no ONNX model, or is cut off"],
  [/opset (\d+) is under development|till opset (\d+)/i, () => "the model needs a newer opset than this runtime has"],
  [
    /Unsupported model IR version: (\d+), max supported IR version: (\d+)/i,
    ([, has, most]) => `the model has the IR version ${has}; this runtime reads up to ${most}`
  ],
  [
    /No Op registered for (\w+)|(\w+)\(\d+\) is not a registered function/i,
    ([, a, b]) => `the model has the operator ${a ?? b}, which this runtime does not have`
  ],
  [/No opset import for domain/i, () => "the model uses operators of a domain that it does not import"],
  [
    /External data|external initializer/i,
    () => "external data of the model is missing, too short or outside its folder"
  ],
  [
    /(execution provider|backend).*(not|no available)|no available backend|failed to load (shared )?library/i,
    () => "this runtime does not have the execution provider"
  ],
  [/Cannot find (package|module)/i, () => "the package onnxruntime-node is not installed"],
  [/alloc|memory/i, () => "there is not enough memory for the model"]
]

const running: ReadonlyArray<Rule> = [
  [/alloc|SafeInt|Integer overflow|BFCArena/i, () => "the run needed more memory than there is"],
  [/while running (\w+) node/i, ([, operator]) => `the run failed in a node of the type ${operator}`]
]

const find = (rules: ReadonlyArray<Rule>, text: string, otherwise: string): string => {
  for (const [pattern, words] of rules) {
    const match = pattern.exec(text)
    if (match !== null) return words(match)
  }
  return otherwise
}

export const ofLoad = (text: string): string => find(loading, text, "the runtime refused the model")
export const ofRun = (text: string): string => find(running, text, "the run failed")
