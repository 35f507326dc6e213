const rows=[...document.querySelectorAll('#timeline tbody tr')],word=document.getElementById('word'),
kinds=[...document.querySelectorAll('#kinds input[type=checkbox]')],count=document.getElementById('count');
function show(){const w=word.value.toLowerCase(),on=new Set(kinds.filter(k=>k.checked).map(k=>k.value));let n=0;
for(const r of rows){const ok=on.has(r.dataset.kind)&&r.textContent.toLowerCase().includes(w);r.hidden=!ok;n+=ok}
count.textContent=n+' of '+rows.length+' shown'}
function open(){const row=/^#t\d+$/.test(location.hash)&&document.querySelector(location.hash);
if(row){row.closest('details').open=true;row.hidden=false;row.scrollIntoView({block:'center'})}}
word.addEventListener('input',show);kinds.forEach(k=>k.addEventListener('change',show));
addEventListener('hashchange',open);show();open();
