// What a reader with good eyes would object to in the open page: a list of sentences.
(() => {
  const faults = [], fault = (what, text) => faults.push(`${what}: ${text.trim().slice(0, 80)}`)
  for (const one of document.querySelectorAll('details')) one.open = true
  const width = document.documentElement.clientWidth
  if (document.documentElement.scrollWidth > width) fault('wider than the window', `${document.documentElement.scrollWidth} of ${width}`)

  // Each visible piece of text, with the boxes of its lines; what a box scrolls away is not visible.
  const pieces = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const range = document.createRange()
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement
    if (!node.data.trim() || parent.closest('script, style, title, svg') || !parent.checkVisibility({ visibilityProperty: true })) continue
    range.selectNodeContents(node)
    const boxes = [...range.getClientRects()].filter((box) => box.width > 1 && box.height > 1)
    if (boxes.length) pieces.push({ node, parent, boxes, scrolls: parent.closest('.scroll') })
  }

  // Text beyond the element that it stands in, or beyond the window.
  for (const { node, parent, boxes, scrolls } of pieces) {
    if (scrolls) continue
    let block = parent
    while (getComputedStyle(block).display === 'inline') block = block.parentElement
    const room = block.getBoundingClientRect()
    if (boxes.some((box) => box.right > room.right + 1.5 || box.left < room.left - 1.5)) fault('text leaves its box', node.data)
    if (boxes.some((box) => box.right > width + 1 || box.left < -1)) fault('text leaves the window', node.data)
  }

  // Words that are torn although a line has room for them and for all that no blank parts from them.
  for (const { node, parent } of pieces) {
    let block = parent
    while (getComputedStyle(block).display === 'inline') block = block.parentElement
    const style = getComputedStyle(block)
    const room = block.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight)
    const lines = (start, text) => {
      range.setStart(node, start)
      range.setEnd(node, start + text.length)
      return [...range.getClientRects()].filter((box) => box.width > 0)
    }
    for (const { 0: whole, index: from } of node.data.matchAll(/\S+/g)) {
      if (lines(from, whole).reduce((sum, box) => sum + box.width, 0) > room) continue
      for (const { 0: word, index } of whole.matchAll(/[\p{L}\p{N}]{2,}/gu)) {
        if (new Set(lines(from + index, word).map((box) => Math.round(box.top))).size > 1) fault('a torn word', word)
      }
    }
  }

  // Text over other text. Lines of one piece share borders; a box is therefore taken without its leading.
  const boxes = pieces.flatMap(({ node, boxes }) => boxes.map((box) => ({ node, box }))).sort((a, b) => a.box.top - b.box.top)
  for (const [at, { node, box }] of boxes.entries()) {
    for (let next = at + 1; next < boxes.length && boxes[next].box.top < box.bottom - 6; next++) {
      const other = boxes[next]
      const over = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left)
      if (other.node !== node && over > 2) fault('text over text', `${node.data.trim().slice(0, 30)} | ${other.node.data.trim().slice(0, 30)}`)
    }
  }

  // Contrast, as WCAG 2.2 counts it (1.4.3 for text, 1.4.11 for the bars).
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number)
  const light = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((n) => (n / 255 <= 0.04045 ? n / 255 / 12.92 : ((n / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b)
    return (high + 0.05) / (low + 0.05)
  }
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor
      if ((channels(colour)[3] ?? 1) === 1) return colour
    }
    return getComputedStyle(document.documentElement).colorScheme === 'dark' ? 'rgb(0,0,0)' : 'rgb(255,255,255)'
  }
  for (const { node, parent } of pieces) {
    const { color, fontSize, fontWeight } = getComputedStyle(parent)
    const isLarge = parseFloat(fontSize) >= 24 || (parseFloat(fontSize) >= 18.66 && fontWeight >= 700)
    if (contrast(color, behind(parent)) < (isLarge ? 3 : 4.5)) fault('faint text', `${node.data.trim().slice(0, 40)} (${color} on ${behind(parent)})`)
  }
  for (const bar of document.querySelectorAll('svg.bar rect')) {
    const { fill } = getComputedStyle(bar)
    if (fill.startsWith('rgb') && contrast(fill, behind(bar.closest('svg'))) < 3) fault('a faint bar', `${bar.getAttribute('class')} (${fill})`)
  }

  // The picture: each lane shows something, and says in words how it ended.
  for (const lane of document.querySelectorAll('.lane')) {
    const shown = [...lane.querySelectorAll('svg rect')].some((bar) => bar.getBoundingClientRect().width >= 1)
    if (!shown) fault('an empty lane', lane.textContent)
    if (!lane.querySelector('svg title')?.textContent.trim()) fault('a lane without words for its colours', lane.textContent)
    const last = [...lane.querySelectorAll('rect:not(.mark)')].at(-1)
    if (last?.matches('.failed') && !lane.textContent.includes('✗')) fault('a failure by its colour alone', lane.textContent)
  }
  return [...new Set(faults)]
})()
