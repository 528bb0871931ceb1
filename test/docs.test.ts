import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT } from './fixtures/code.ts'
import { PAGES } from './fixtures/pages.ts'

const read = (page: string) => readFileSync(join(ROOT, page), 'utf8')
const withoutCode = (text: string) => text.replace(/^```[\s\S]*?^```$/gm, '')

/** The names that headings can be linked by, as GitHub makes them. */
function anchorsOf(page: string): string[] {
  return [...withoutCode(read(page)).matchAll(/^#+ (.+)$/gm)].map(([, title]) =>
    (title as string)
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}

describe('the documentation', () => {
  for (const page of PAGES) {
    it(`${page}: every relative link leads somewhere`, () => {
      const links = [...withoutCode(read(page)).matchAll(/\]\((?!https?:)([^)\s]+)\)/g)].map(
        ([, link]) => link as string,
      )
      const dead = links.filter((link) => {
        const [file = '', anchor] = link.split('#')
        const target = file === '' ? page : join(dirname(page), file)
        return (
          !existsSync(join(ROOT, target)) || (anchor !== undefined && !anchorsOf(target).includes(anchor))
        )
      })
      assert.deepEqual(dead, [])
    })

    it(`${page}: every file of the repository that it names is there`, () => {
      const named = [
        ...read(page).matchAll(/(?<![\w/.-])((?:src|adapters|cli|test|bench|examples)\/[\w./-]*\w\/?)/g),
      ].map(([, name]) => name as string)
      assert.deepEqual(
        named.filter((name) => !existsSync(join(ROOT, name))),
        [],
      )
    })
  }

  it('every figure has the page and the markers between which a tool writes it', () => {
    const written = {
      'README.md': ['verdict', 'speed'],
      'docs/comparison.md': ['locks'],
      'docs/decisions/waiting.md': ['waiting'],
      'docs/performance.md': ['startup', 'speed'],
      'docs/reliability.md': ['figures'],
      'docs/server.md': ['postgres'],
      'docs/ways-to-load.md': ['matrix'],
    }
    for (const [page, names] of Object.entries(written)) {
      for (const name of names)
        assert.match(read(page), new RegExp(`<!-- ${name}:start -->\n[^]+<!-- ${name}:end -->`))
    }
  })

  it('README.md is an overview: 250 lines at most', () => {
    assert.ok(read('README.md').split('\n').length <= 251)
  })

  it('docs/README.md and README.md together link every page', () => {
    const linked = ['README.md', 'docs/README.md', 'docs/decisions/README.md'].flatMap((page) =>
      [...read(page).matchAll(/\]\((?!https?:)([^)#\s]+)/g)].map(([, link]) =>
        join(dirname(page), link as string),
      ),
    )
    assert.deepEqual(
      PAGES.filter((page) => page !== 'README.md' && !linked.includes(page)),
      [],
    )
  })
})
