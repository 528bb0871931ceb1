import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from '@typescript/typescript6'
import { ROOT } from '../fixtures/code.ts'

/** A function of the package, as it stands in its source. */
export interface SourceFunction {
  /** Relative to the root of the repository. */
  readonly file: string
  readonly line: number
  readonly name: string
}

export interface Instrumented {
  /** Holds `src` and `adapters` as JavaScript that calls `globalThis.pslockEnter(number)` wherever a function begins. */
  readonly folder: string
  /** By number. */
  readonly functions: readonly SourceFunction[]
}

type WithBody = ts.FunctionLikeDeclaration & { readonly body: ts.ConciseBody }

function hasBody(node: ts.Node): node is WithBody {
  return ts.isFunctionLike(node) && 'body' in node && node.body !== undefined
}

function nameOf(node: ts.Node): string {
  if (ts.isConstructorDeclaration(node)) return `new ${nameOf(node.parent)}`
  const name = ts.isClassLike(node) || ts.isFunctionLike(node) ? node.name?.getText() : undefined
  const { parent } = node
  if (name !== undefined) return ts.isClassLike(parent) ? `${nameOf(parent)}.${name}` : name
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) return parent.name.getText()
  if (ts.isPropertyDeclaration(parent)) return `${nameOf(parent.parent)}.${parent.name.getText()}`
  let outer: ts.Node | undefined = parent
  while (outer && !ts.isFunctionLike(outer)) outer = outer.parent
  return outer === undefined ? '(anonymous)' : `${nameOf(outer)} > callback`
}

/** Transpiles one file, with a call at the beginning of each of its functions. */
function instrumentFile(file: string, functions: SourceFunction[]): string {
  const transform: ts.TransformerFactory<ts.SourceFile> = (context) => (source) => {
    const { factory } = context
    const visit = (node: ts.Node): ts.Node => {
      if (!hasBody(node)) return ts.visitEachChild(node, visit, context)
      const line = source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1
      const call = factory.createCallExpression(factory.createIdentifier('pslockEnter'), undefined, [
        factory.createNumericLiteral(functions.push({ file, line, name: nameOf(node) }) - 1),
      ])
      const { body } = node
      const visited = ts.visitEachChild(node, visit, context) as WithBody
      const inner = visited.body
      const begun = ts.isBlock(inner)
        ? factory.updateBlock(inner, [factory.createExpressionStatement(call), ...inner.statements])
        : factory.createParenthesizedExpression(factory.createComma(call, inner))
      // Each kind of function has an update of its own in the factory; this one serves all.
      return ts.visitEachChild(
        visited,
        (child) => (child === inner || child === body ? begun : child),
        context,
      )
    }
    return ts.visitNode(source, visit) as ts.SourceFile
  }
  return ts.transpileModule(readFileSync(join(ROOT, file), 'utf8'), {
    fileName: file,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      rewriteRelativeImportExtensions: true,
    },
    transformers: { before: [transform] },
  }).outputText
}

/** Writes an instrumented copy of the package into a new folder below `build`, where it finds its dependencies. */
export function instrument(): Instrumented {
  mkdirSync(join(ROOT, 'build'), { recursive: true })
  const folder = mkdtempSync(join(ROOT, 'build/traced-'))
  const functions: SourceFunction[] = []
  for (const part of ['src', 'adapters']) {
    for (const name of readdirSync(join(ROOT, part), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts') || name.endsWith('.d.ts')) continue
      const file = join(part, name)
      const written = join(folder, file.replace(/ts$/, 'js'))
      mkdirSync(dirname(written), { recursive: true })
      writeFileSync(written, instrumentFile(file, functions))
    }
  }
  return { folder, functions }
}
