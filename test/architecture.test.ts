import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { ROOT } from './fixtures/code.ts'

/** Lowest first; each floor imports from itself and from below. */
const FLOORS = [
  'src/errors.ts',
  'src/arguments.ts',
  'src/debug.ts',
  'src/os',
  'src/lock',
  'src/lock-tree',
  'src/store',
  'src/postgres',
  'src/features',
  'src/members.ts',
  'src/open.ts',
  'src/locked-db.ts',
  'src/index.ts',
  'adapters',
  'cli',
]
const LINES_AT_MOST = 500

interface Source {
  name: string
  text: string
  lines: number
}

function sourcesOf(floor: string): Source[] {
  const path = join(ROOT, floor)
  const names = floor.endsWith('.ts')
    ? [path]
    : readdirSync(path, { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.[cm]?ts$/.test(name))
        .map((name) => join(path, name))
  return names.map((name) => {
    const text = readFileSync(name, 'utf8')
    return { name: relative(ROOT, name), text, lines: text.split('\n').length - 1 }
  })
}

const sources = FLOORS.flatMap(sourcesOf)

function floorOf(name: string): number {
  return FLOORS.findIndex((floor) => name === floor || name.startsWith(floor + sep))
}

/** What a file imports, as it is written: static, re-exported, dynamic and required. */
function importsOf({ text }: Source): string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/^\s*\/\/.*$/gm, '')
  const found = code.matchAll(/(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\w*\((?:\)\()?\s*)(['"])([^'"]+)\1/g)
  return [...found].map((match) => match[2] as string)
}

/** The file that an import of one's own package names, relative to the root. */
function target(source: Source, specifier: string): string {
  const path = relative(ROOT, resolve(ROOT, dirname(source.name), specifier))
  // Types alone.
  return path.replace(/\.cjs$/, '.d.cts')
}

/** The folder of a file; a file that is directly in src/ counts as one. The journal is a part of the JSON engine, the lab is one. */
function areaOf(name: string): string {
  const folder = dirname(name)
  return folder === 'src' ? name : folder.replace(/(?<=\bjson).journal$|(?<=\bstress)\b.*$/, '')
}

describe('architecture', () => {
  it('there is something to look at: the floors exist and import each other', () => {
    assert.ok(sources.length > 15)
    assert.ok(sources.flatMap(importsOf).length > 50)
  })

  it('the floors only look down', () => {
    const upwards: string[] = []
    for (const source of sources) {
      for (const specifier of importsOf(source).filter((name) => name.startsWith('.'))) {
        const imported = target(source, specifier)
        assert.ok(
          existsSync(join(ROOT, imported)),
          `${source.name} imports ${imported}, which does not exist`,
        )
        if (floorOf(imported) === -1 || floorOf(imported) > floorOf(source.name)) {
          upwards.push(`${source.name} -> ${imported}`)
        }
      }
    }
    assert.deepEqual(upwards, [])
  })

  it('no folders of src or cli import each other in a circle, not even types', () => {
    const imported = new Map<string, Set<string>>()
    for (const source of sources.filter(({ name }) => /^(src|cli)\b/.test(name))) {
      const targets = importsOf(source)
        .filter((name) => name.startsWith('.'))
        .map((specifier) => target(source, specifier))
        .map(areaOf)
      const known = imported.get(areaOf(source.name)) ?? []
      imported.set(areaOf(source.name), new Set([...known, ...targets]))
    }
    const reached = (from: string, seen = new Set<string>()): Set<string> => {
      for (const next of imported.get(from) ?? []) {
        if (next === from || seen.has(next)) continue
        seen.add(next)
        reached(next, seen)
      }
      return seen
    }
    assert.deepEqual(
      [...imported.keys()].filter((area) => reached(area).has(area)),
      [],
    )
  })

  it('errors.ts imports nothing', () => {
    const source = sources.find(({ name }) => name === join('src', 'errors.ts'))
    assert.deepEqual(importsOf(source!), [])
  })

  it('the library does not import itself by its name', () => {
    const own = sources.filter((source) => importsOf(source).some((name) => /^pslock(\/|$)/.test(name)))
    assert.deepEqual(
      own.map(({ name }) => name),
      [],
    )
  })

  it('only src/os talks to the kernel', () => {
    const talkers = sources.filter((source) =>
      importsOf(source).some((name) => /^(koffi|fs-ext|fs-native-extensions)(\/|$)/.test(name)),
    )
    assert.deepEqual(
      talkers.map(({ name }) => name).filter((name) => !name.startsWith(join('src', 'os') + sep)),
      [],
    )
    assert.ok(talkers.length > 0, 'the pattern above finds the binding')
  })

  it('the floors below the adapters know no store', () => {
    const knowing = sources.filter(
      (source) =>
        source.name.startsWith('src') && importsOf(source).some((name) => /lowdb|nedb|steno/i.test(name)),
    )
    assert.deepEqual(
      knowing.map(({ name }) => name),
      [],
    )
  })

  it("an adapter imports no other adapter's folder, so adding a store touches no existing file", () => {
    const crossing: string[] = []
    for (const source of sources.filter(({ name }) => name.startsWith(`adapters${sep}`))) {
      const own = source.name.split(sep)[1]?.replace(/\.ts$/, '')
      for (const specifier of importsOf(source).filter((name) => name.startsWith('.'))) {
        const parts = target(source, specifier).split(sep)
        // nedb-promises wraps nedb, by its nature: a store may stand on the one whose name it begins with.
        if (parts[0] === 'adapters' && !own?.startsWith(String(parts[1]?.replace(/\.ts$/, '')))) {
          crossing.push(`${source.name} -> ${parts.join('/')}`)
        }
      }
    }
    assert.deepEqual(crossing, [])
  })

  it(`no file is longer than ${LINES_AT_MOST} lines`, () => {
    const long = sources.filter(({ lines }) => lines > LINES_AT_MOST)
    assert.deepEqual(
      long.map(({ name, lines }) => `${name}: ${lines}`),
      [],
    )
  })

  it('the names in adapters/ are the names in the package exports', () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      exports: Record<string, unknown>
    }
    const names = readdirSync(join(ROOT, 'adapters'))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => name.replace(/\.ts$/, ''))
    const entries = Object.keys(exports).filter((name) => name !== '.' && name !== './package.json')
    assert.deepEqual(entries.sort(), names.map((name) => `./${name}`).sort())
    for (const name of names) {
      assert.deepEqual(exports[`./${name}`], {
        import: { types: `./dist/${name}.d.ts`, default: `./dist/${name}.js` },
        require: { types: `./dist/${name}.d.cts`, default: `./dist/${name}.cjs` },
      })
    }
  })

  it('every adapter has its tests, of the same name', () => {
    const untested = readdirSync(join(ROOT, 'adapters'))
      .filter((name) => name.endsWith('.ts'))
      .map((name) => name.replace(/\.ts$/, ''))
      .filter((name) => {
        const tests = join(ROOT, 'test', 'adapters')
        return !existsSync(join(tests, name)) && !existsSync(join(tests, `${name}.test.ts`))
      })
    assert.deepEqual(untested, [])
  })
})
